"""Attention on a CPU: milliseconds of softmax(q kᵀ / sqrt(d)) v, tokens seeing earlier ones only, in bfloat16 and float32, forward alone and with the gradient:
ours (in blocks that stay near the processor), the formula written down, and torch's fused kernel. Equality first: all sides give the formula's result.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import Row, alternate, arguments, arm, publish, ratio
from ftheta.blocks.attend import Reach, attend, products

SHAPES = [(16, 6, 256), (8, 12, 512), (1, 12, 1024), (2, 12, 1024)]
"""Rows, heads, tokens; heads are 64 wide."""
WIDTH, REPEATS = 64, 5
BAND = {"bfloat16": 0.03, "float32": 1e-5}
SIDES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "ours": lambda q, k, v, bias: attend(q, k, v, bias, None, Reach(ahead=0)),
    "the formula": lambda q, k, v, bias: products(q, k, v, bias, WIDTH**-0.5),
    "torch's fused kernel": lambda q, k, v, bias: F.scaled_dot_product_attention(q, k, v, is_causal=True),
}


def measure(side: str, shapes: list[tuple[int, int, int]]) -> dict[str, Any]:
    """Milliseconds of every shape and type, forward alone and with the gradient; and how far the results are from the formula's."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    found: dict[str, Any] = {}
    for kind in BAND:
        for rows, heads, length in shapes:
            torch.manual_seed(0)
            q, k, v = (torch.randn(rows, length, heads, WIDTH).to(getattr(torch, kind)).transpose(1, 2).requires_grad_() for _ in range(3))
            slope = torch.randn_like(q)
            bias = torch.zeros(length, length, dtype=q.dtype).masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float("-inf"))

            def forward(side: str = side, given: tuple[Tensor, ...] = (q, k, v, bias)) -> list[Tensor]:
                with torch.no_grad():
                    return [SIDES[side](*given)]

            def learning(side: str = side, given: tuple[Tensor, ...] = (q, k, v, bias), slope: Tensor = slope) -> list[Tensor]:
                return list(torch.autograd.grad(SIDES[side](*given), given[:3], slope))

            for what, run, expected in (("forward", forward, forward("the formula")), ("with the gradient", learning, learning("the formula"))):
                away = max(float((one - other).abs().max() / other.abs().max()) for one, other in zip(run(), expected, strict=True))
                best = float("inf")
                for _ in range(REPEATS):
                    start = time.perf_counter()
                    run()
                    best = min(best, time.perf_counter() - start)
                found[f"{kind}, {rows} × {heads} × {length}, {what}"] = {"ms": best * 1e3, "away": away}
    return found


def main() -> None:
    parser = arguments(__doc__ or "", pairs=3)
    options = parser.parse_args()
    shapes = SHAPES[:1] if options.quick else SHAPES
    arms = {side: (lambda side=side: arm(measure, side=side, shapes=shapes)) for side in SIDES}
    found = alternate(arms, 1 if options.quick else options.pairs, lambda result: f"{sum(one['ms'] for one in result.values()):,.0f} ms in all")
    rows = []
    for kind, band in BAND.items():
        away = max(one["away"] for results in found.values() for result in results for name, one in result.items() if name.startswith(kind))
        if away > band:
            raise SystemExit(f"the sides give different results in {kind}: {away:.2g}")
        rows.append(Row(f"{kind}: farthest from the formula, of its largest number", f"≤ {band:g}", f"{away:.1g}", True))
    for case in found["ours"][0]:
        times = {side: [result[case]["ms"] for result in results] for side, results in found.items()}
        against = {side: ratio(times[side], times["ours"]) for side in SIDES if side != "ours"}
        rows.append(Row(
            case, "", f"{statistics.median(times['ours']):.1f} ms; " + "; ".join(f"{side} takes {quotient.median:.2f}× as long" for side, quotient in against.items()),
        ))
    publish("attention", "Attention on a CPU", rows, found, options.quick)


if __name__ == "__main__":
    main()
