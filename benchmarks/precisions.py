"""An engine in each type it can compute in: bytes of the weights, tokens that fit into its memory, tokens a second of one text and of sixteen at once, and of
reading a long prompt. One decoder of GPT-2's width with six layers and random weights, greedy.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import torch

from benchmarks.common import Row, alternate, arguments, arm, publish
from ftheta.architectures.decoder import DecoderConfig
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.models.model import Model
from ftheta.serving.engine import Engine
from ftheta.serving.settings import Settings

VOCAB, PROMPT, LONG, MEMORY = 2048, 32, 500, 300_000_000
PRECISIONS = ("float32", "bfloat16", "int8", "int4")


def engine(precision: str, depth: int, most: int) -> dict[str, Any]:
    """The figures in one of the types."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    architecture = DecoderConfig.parse({
        "vocab": VOCAB, "dim": 768, "depth": depth, "context": 1024, "positions": "rotary", "norm": "rmsnorm", "mixer": {"kind": "attention", "heads": 12},
    }).build()
    architecture.initialise(0)
    model = Model(architecture, TextProcessor(Bytes().train([])), "text-generation").compute_in(precision)
    made = Engine(model, Settings(together=16, memory=MEMORY, reuse=False))
    made.limits["banned"] = []

    def seconds(texts: int, prompt: int, new: int) -> float:
        draw = torch.Generator().manual_seed(0)
        asked = [Request(torch.randint(VOCAB, (prompt,), generator=draw).tolist(), Sampling(temperature=0), new, end=-1) for _ in range(texts)]
        start = time.perf_counter()
        made.enter(asked)
        made.finish()
        return time.perf_counter() - start

    seconds(16, PROMPT, 4)
    reading = min(seconds(1, LONG, 1) for _ in range(3))
    rates = {f"{texts} texts" if texts > 1 else "one text": texts * most / min(seconds(texts, PROMPT, most) for _ in range(2)) for texts in (1, 16)}
    return {"weights": sum(value.nbytes for value in architecture.theta().values()), "fit": made.capacity.tokens, **rates, "reading": LONG / reading}   # type: ignore[union-attr]


def main() -> None:
    parser = arguments(__doc__ or "", pairs=3)
    options = parser.parse_args()
    given = {"depth": 2 if options.quick else 6, "most": 8 if options.quick else 64}
    arms = {name: (lambda name=name: arm(engine, precision=name, **given)) for name in PRECISIONS}
    found = alternate(arms, 1 if options.quick else options.pairs, lambda result: f"{result['one text']:,.1f} and {result['16 texts']:,.0f} tokens/s")
    rows = []
    for name, results in found.items():
        middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
        fits = f"{middle['weights'] / 1e6:,.0f} MB; {middle['fit']:,.0f} tokens fit"
        shown = f"{fits}; {middle['one text']:,.1f} tokens/s, {middle['16 texts']:,.0f} of 16 texts, {middle['reading']:,.0f} read"
        rows.append(Row(name, "", shown))
    publish("precisions", "An engine in the types it can compute in", rows, found, options.quick)


if __name__ == "__main__":
    main()
