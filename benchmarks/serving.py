"""Serving: tokens a second for many prompts of unlike lengths (nano-vllm's workload: random prompts, random numbers of new tokens), against transformers, both
with batches padded on the left and with its continuous batching.

The model is stories260K (FTHETA_MIRROR) or, with --shape, one of that width and depth with random weights and 4,096 tokens. Greedy, in float32.
All sides must write the same tokens: how many texts are equal is said beside the speed. Padded batches are made of the prompts in their order
and go on until the longest of a batch is done; only the tokens that were asked for count.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import ftheta
from benchmarks.common import Row, alternate, arguments, arm, publish
from ftheta.architectures.decoder import DecoderConfig
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.models.folder import save
from ftheta.models.model import Model
from ftheta.serving.engine import Engine
from ftheta.serving.settings import Settings

TOGETHER = 32
"""Sequences written at a time, on all sides."""
LONGEST = 512


def model_of(shape: tuple[int, int] | None) -> Model:
    """The model of this width and depth, or stories260K."""
    if shape is None:
        return ftheta.load(Path(os.environ["FTHETA_MIRROR"]) / "stories260k" / "stories260K.bin")
    dim, depth = shape
    architecture = DecoderConfig.parse({
        "vocab": 4096, "dim": dim, "depth": depth, "context": LONGEST, "positions": "rotary", "norm": "rmsnorm",
        "mixer": {"kind": "attention", "heads": max(1, dim // 48), "head_dim": 48}, "feedforward": "gated", "tie": True,
    }).build()
    architecture.initialise(0)
    return Model(architecture, TextProcessor(Bytes().train([])), "text-generation")


def workload(vocab: int, count: int, longest: int) -> list[tuple[list[int], int]]:
    """(prompt, new tokens) of each."""
    draws = random.Random(0)
    return [([draws.randrange(3, vocab) for _ in range(draws.randint(10, longest))], draws.randint(10, longest)) for _ in range(count)]


def ours(shape: tuple[int, int] | None, count: int, longest: int) -> dict[str, Any]:
    """The engine."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = model_of(shape)
    engine = Engine(model, Settings(together=TOGETHER, queue=count))
    engine.limits["banned"] = []
    asked = workload(model.processor.vocab if shape is None else 4096, count, longest)       # type: ignore[attr-defined]
    engine.enter([Request([5, 6], Sampling(temperature=0), 2, end=-1)])
    engine.finish()
    start = time.perf_counter()
    found = [engine.enter([Request(prompt, Sampling(temperature=0), most, end=-1)]) for prompt, most in asked]
    engine.finish()
    seconds = time.perf_counter() - start
    first = [each.sequences[0].first - each.sequences[0].arrived for each in found]          # type: ignore[operator]
    return report([each.sequences[0].request.new for each in found], seconds, {"capacity": str(engine.capacity), "first": sorted(first)[len(first) // 2]})


def theirs(shape: tuple[int, int] | None, count: int, longest: int, continuous: bool) -> dict[str, Any]:
    """transformers, on the same parameters."""
    import transformers

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = model_of(shape)
    asked = workload(model.processor.vocab if shape is None else 4096, count, longest)       # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        other = transformers.AutoModelForCausalLM.from_pretrained(save(model, Path(folder) / "m"), attn_implementation="sdpa").eval()
    settings = transformers.GenerationConfig(do_sample=False, eos_token_id=None, pad_token_id=0, max_new_tokens=longest)
    if continuous:
        return continuously(other, settings, asked)
    other.generate(torch.tensor([[5, 6]]), generation_config=settings, max_new_tokens=2)
    found: list[list[int]] = []
    start = time.perf_counter()
    for at in range(0, count, TOGETHER):
        batch = asked[at : at + TOGETHER]
        width = max(len(prompt) for prompt, _ in batch)
        tokens = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt, _ in batch])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt, _ in batch])
        rows = other.generate(tokens, attention_mask=mask, generation_config=settings, max_new_tokens=max(most for _, most in batch))
        found += [row[width : width + most].tolist() for row, (_, most) in zip(rows, batch, strict=True)]
    return report(found, time.perf_counter() - start, {})


def continuously(other: Any, settings: Any, asked: list[tuple[list[int], int]]) -> dict[str, Any]:
    """Its continuous batching: `generate_batch`, whose manager takes a number of new tokens for each."""
    import transformers

    sizes = transformers.ContinuousBatchingConfig(page_size=16, num_blocks=TOGETHER * LONGEST // 16, max_batch_tokens=LONGEST, max_requests_per_batch=TOGETHER)
    with other.continuous_batching_context_manager(generation_config=settings, continuous_batching_config=sizes, block=True, timeout=5) as manager:
        manager.add_request([5, 6], request_id="warm", max_new_tokens=2)
        while manager.get_result(timeout=1) is None:
            pass
        start = time.perf_counter()
        for number, (prompt, most) in enumerate(asked):
            manager.add_request(prompt, request_id=str(number), max_new_tokens=most)
        found: dict[str, list[int]] = {}
        while len(found) < len(asked):
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                found[result.request_id] = list(result.generated_tokens)
            if result is None and not manager.is_running():
                raise RuntimeError("the manager has stopped")
        seconds = time.perf_counter() - start
    return report([found[str(number)] for number in range(len(asked))], seconds, {})


def report(found: list[list[int]], seconds: float, more: dict[str, Any]) -> dict[str, Any]:
    count = sum(map(len, found))
    return {"tokens": found, "count": count, "seconds": seconds, "rate": count / seconds, **more}


def main() -> None:
    parser = arguments(__doc__ or "", pairs=2)
    parser.add_argument("--count", type=int, default=64, help="prompts (default: %(default)s)")
    parser.add_argument("--longest", type=int, default=128, help="tokens of a prompt, and new tokens, at most (default: %(default)s)")
    parser.add_argument("--shape", type=int, nargs=2, help="width and depth of a model with random weights, in place of stories260K")
    options = parser.parse_args()
    given = {"shape": options.shape, "count": 8 if options.quick else options.count, "longest": 32 if options.quick else options.longest}
    arms = {
        "engine": lambda: arm(ours, **given), "padded": lambda: arm(theirs, **given, continuous=False), "continuous": lambda: arm(theirs, **given, continuous=True),
    }
    found = alternate(arms, options.pairs, lambda result: f"{result['rate']:,.0f} tokens/s")
    expected = found["engine"][0]["tokens"]
    rows = []
    for name, results in found.items():
        equal = sum(a == b for a, b in zip(results[0].pop("tokens"), expected, strict=True))
        for result in results[1:]:
            result.pop("tokens")
        best = max(result["rate"] for result in results)
        rows.append(Row({"engine": "ftheta", "padded": "transformers, padded batches", "continuous": "transformers, generate_batch"}[name], "",
                        f"{best:,.0f} tokens/s, {equal} of {len(expected)} texts equal"))
    ratios = {name: max(r["rate"] for r in found["engine"]) / max(r["rate"] for r in found[name]) for name in ("padded", "continuous")}
    rows.append(Row("ftheta / generate_batch", "≥ 2", f"{ratios['continuous']:.2f}", ratios["continuous"] >= 2))
    rows.append(Row("ftheta / padded batches", "", f"{ratios['padded']:.2f}"))
    publish("serving", "Serving: many prompts of unlike lengths", rows, found, options.quick)


if __name__ == "__main__":
    main()
