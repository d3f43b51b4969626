"""Writing one text: tokens a second after a prompt, and reading a long prompt, against transformers and CTranslate2, all with the same random weights of
GPT-2's shape (124 million parameters).

Decoding: 64 tokens of prompt, 128 greedy new tokens, one text at a time. Ours in float32, bfloat16 and 8 bits (weights as whole numbers, bfloat16 sums);
transformers' `generate` in float32 and bfloat16; CTranslate2 in int8 (--with-ctranslate2; `pip install ctranslate2`). Equality first: in float32
both sides must write the same tokens. The ceiling is what reading the bytes of the weights takes: the rate of a sum over an array of that size.
Prefill: one pass over 1,024 tokens that gives the last token's logits, beside the rate of bfloat16 matrix products of that shape.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Row, alternate, arguments, arm, publish, ratio
from ftheta.architectures import presets
from ftheta.architectures.decoder import DecoderConfig
from ftheta.blocks.few_bits import keep_all_in_few_bits
from ftheta.blocks.quantised import Quantisation
from ftheta.core.device import matmul_rate
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.inference.generate import Generation
from ftheta.inference.memory import Memory
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.lifecycle.recipe import read_yaml
from ftheta.models.folder import save
from ftheta.models.model import Model

VOCAB, PROMPT, LONG = 50257, 64, 1024
REPEATS = 3


def model_of(depth: int) -> Model:
    """GPT-2 with weights drawn at random, the same every time; large enough that the likeliest token is clearly so."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    architecture = DecoderConfig.parse({**read_yaml(presets()["decoder/gpt2"]), "depth": depth}).build()
    architecture.initialise(0)
    for parameter in architecture.parameters():
        parameter.data.mul_(2.0)
    return Model(architecture, TextProcessor(Bytes().train([])), "text-generation")


def prompt(length: int) -> list[int]:
    return torch.randint(VOCAB, (length,), generator=torch.Generator().manual_seed(0)).tolist()


def fastest(once: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the fastest of a few calls, and what it gave."""
    once()
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        found = once()
        taken.append(time.perf_counter() - start)
    return min(taken), found


@torch.no_grad()
def ours(kept: str, depth: int, most: int) -> dict[str, Any]:
    """One text in this precision."""
    model = model_of(depth)
    if kept == "int8":
        keep_all_in_few_bits(model.architecture, Quantisation(bits=8))
    model.compute_in("float32" if kept == "float32" else "bfloat16")

    def write() -> list[int]:
        asked = Request(prompt(PROMPT), Sampling(temperature=0), most)
        Generation(model.architecture, [asked], longest=1024, end=None).finish()
        return asked.new

    def read() -> list[int]:
        return Memory(model.architecture).read([prompt(LONG)], 1).argmax(-1).flatten().tolist()

    size = sum(tensor.nbytes for name, tensor in model.architecture.theta().items() if "position" not in name)
    return measured(write, read, most) | {"bytes": size, "bandwidth": bandwidth(size), "products": matmul_rate(torch.bfloat16, torch.device("cpu"), LONG, 768, 3072)}


@torch.no_grad()
def theirs(kept: str, depth: int, most: int) -> dict[str, Any]:
    """transformers."""
    import transformers

    model = model_of(depth)
    with tempfile.TemporaryDirectory() as folder:
        other = transformers.AutoModelForCausalLM.from_pretrained(save(model, Path(folder) / "m"), attn_implementation="sdpa", dtype=getattr(torch, kept)).eval()
    settings = transformers.GenerationConfig(do_sample=False, eos_token_id=None, pad_token_id=0, max_new_tokens=most)
    given, long = torch.tensor([prompt(PROMPT)]), torch.tensor([prompt(LONG)])

    def write() -> list[int]:
        return other.generate(given, attention_mask=torch.ones_like(given), generation_config=settings)[0, PROMPT:].tolist()

    def read() -> list[int]:
        return other(long, logits_to_keep=1).logits[0, -1:].argmax(-1).tolist()

    return measured(write, read, most)


def ctranslate2(depth: int, most: int) -> dict[str, Any]:
    """CTranslate2 in int8."""
    import ctranslate2
    import transformers

    model = model_of(depth)
    words = [f"<{i}>" for i in range(VOCAB)]
    with tempfile.TemporaryDirectory() as folder:
        other = transformers.AutoModelForCausalLM.from_pretrained(save(model, Path(folder) / "m")).eval()
        spec = ctranslate2.specs.TransformerDecoderModelSpec.from_config(depth, 12, pre_norm=True, activation=ctranslate2.specs.Activation.GELUTanh)
        loader = ctranslate2.converters.transformers.GPT2Loader()
        loader.set_decoder(spec.decoder, other.transformer)
        loader.set_linear(spec.decoder.projection, other.lm_head)
        spec.register_vocabulary(words)
        spec.validate()
        spec.optimize(quantization="int8")
        spec.save(folder)
        made = ctranslate2.Generator(folder, device="cpu", compute_type="int8", intra_threads=torch.get_num_threads())
    start, long = [words[i] for i in prompt(PROMPT)], [words[i] for i in prompt(LONG)]

    def write() -> list[int]:
        found = made.generate_batch([start], max_length=most, min_length=most, sampling_topk=1, include_prompt_in_result=False, end_token=[])
        return list(found[0].sequences_ids[0])

    def read() -> list[int]:
        made.generate_batch([long[:-1]], max_length=1, min_length=1, sampling_topk=1, include_prompt_in_result=False, end_token=[])
        return []

    return measured(write, read, most)


def measured(write: Callable[[], list[int]], read: Callable[[], list[int]], most: int) -> dict[str, Any]:
    seconds, tokens = fastest(write)
    passed, last = fastest(read)
    return {"rate": most / seconds, "prefill": LONG / passed, "tokens": tokens, "last": last}


def bandwidth(size: int) -> float:
    """Bytes a second of summing an array of this size: the best of several."""
    values = torch.ones(size // 4)
    best = 0.0
    for _ in range(12):
        start = time.perf_counter()
        values.sum()
        best = max(best, size / (time.perf_counter() - start))
    return best


def main() -> None:
    parser = arguments(__doc__ or "", pairs=3)
    parser.add_argument("--with-ctranslate2", action="store_true", help="measure CTranslate2 too")
    options = parser.parse_args()
    given: dict[str, Any] = {"depth": 2 if options.quick else 12, "most": 16 if options.quick else 128}
    arms = {f"ftheta {kept}": (lambda kept=kept: arm(ours, kept=kept, **given)) for kept in ("float32", "bfloat16", "int8")}
    arms |= {f"transformers {kept}": (lambda kept=kept: arm(theirs, kept=kept, **given)) for kept in ("float32", "bfloat16")}
    if options.with_ctranslate2:
        arms["CTranslate2 int8"] = lambda: arm(ctranslate2, **given)
    found = alternate(arms, 1 if options.quick else options.pairs, lambda result: f"{result['rate']:,.1f} and {result['prefill']:,.0f} tokens/s")
    rates = {name: [result["rate"] for result in results] for name, results in found.items()}
    prefills = {name: [result["prefill"] for result in results] for name, results in found.items()}
    same = all(result["tokens"] == found["transformers float32"][0]["tokens"] for name in ("ftheta float32", "transformers float32") for result in found[name])
    if not same:
        raise SystemExit("in float32 the two sides write different tokens")
    rows = [Row("float32: greedy tokens, both sides", "equal", "equal", True)]
    rows += [Row(f"decode: {name}", "", f"{statistics.median(values):.1f} tokens/s") for name, values in rates.items()]
    best = max((name for name in rates if name.startswith("transformers")), key=lambda name: statistics.median(rates[name]))
    against = ratio(rates["ftheta int8"], rates[best])
    rows.append(Row(f"decode: ftheta int8 / {best}", "≥ 2.5×", str(against), against.median >= 2.5))
    if options.with_ctranslate2:
        against = ratio(rates["ftheta int8"], rates["CTranslate2 int8"])
        rows.append(Row("decode: ftheta int8 / CTranslate2 int8", "≥ 1.2×", str(against), against.median >= 1.2))
    for name in ("float32", "bfloat16", "int8"):
        share = statistics.median(result["rate"] * result["bytes"] / result["bandwidth"] for result in found[f"ftheta {name}"])
        rows.append(Row(f"decode: {name}, share of the read bandwidth", "≥ 80%", f"{share:.0%}", share >= 0.8))
    against = ratio(prefills["ftheta bfloat16"], prefills["transformers bfloat16"])
    rows.append(Row("prefill: ftheta / transformers, bfloat16", "≥ 1.3×", str(against), against.median >= 1.3))
    work = 2 * 12 * 768 * 768 * given["depth"]
    share = statistics.median(result["prefill"] * work / result["products"] for result in found["ftheta bfloat16"])
    rows.append(Row("prefill: share of the rate of bfloat16 products", "≥ 60%", f"{share:.0%}", share >= 0.6))
    publish("decoding", "Writing one text: decoding and prefill of GPT-2's shape", rows, found, options.quick)


if __name__ == "__main__":
    main()
