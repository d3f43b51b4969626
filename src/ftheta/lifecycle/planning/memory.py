"""From a rehearsal's findings to the peak memory of a run by part, what fits, and the largest micro-batch that does."""

from __future__ import annotations

from typing import Any

import torch

from ftheta.core.config import Config
from ftheta.core.device import memory_bytes
from ftheta.data.stream import AHEAD
from ftheta.lifecycle.planning.estimate import Estimate
from ftheta.lifecycle.planning.machine import available_bytes
from ftheta.lifecycle.recipe import Recipe

MIB = 1 << 20
KERNELS = 24 * MIB
"""Buffers of the matrix libraries and stacks of threads, which no tensor shows."""
CONTEXT = 512 * MIB
"""What CUDA and its libraries take on a GPU before the first tensor."""
PROCESS_BAND = (0.93, 1.1)
"""How far the measured memory of a process with its data lies from what is said of it."""
HEAP_BAND = (0.8, 1.35)
"""The same for what training adds (benchmarks/plan.py)."""
PARTS = ("weights", "gradients", "optimizer", "activations", "running average")
"""Of training, as a rehearsal tells them apart."""


class Memory(Config):
    """Peak memory of a run, in bytes."""

    parts: dict[str, int]
    """What it consists of at the peak; their sum is the peak."""
    peak: Estimate
    measured: int | None = None
    """Peak of the process that did a few real steps, without checkpoint copies."""
    reading: int
    """Peak when a checkpoint is read back to continue."""
    limit: int
    """Memory of this machine (or of its GPU) that a process may use."""
    free: int
    """Of that, not taken by others now."""

    @property
    def needed(self) -> float:
        """Upper end of the band of the largest peak."""
        return max(self.peak.high, 1.1 * (self.measured or 0), PROCESS_BAND[1] * self.reading)

    @property
    def fits(self) -> bool:
        return self.needed <= self.free


def memory_of(recipe: Recipe, found: dict[str, Any], rows: int, saves: float, device: torch.device, measured: int | None = None) -> Memory:
    """Memory of a run from its rehearsal; `saves`: checkpoints written, all but the last while it trains."""
    saving = recipe.train.checkpoint.asynchronous and saves > 1
    heap = found["saving"] if saving else found["resident"]
    base = found["process"] + found["data"] + KERNELS
    ahead = (1 + (recipe.train.workers * AHEAD + 1)) * found["row"] * rows
    parts = {"process": found["process"] + KERNELS, "data": found["data"] + ahead}
    parts |= {name: found["parts"].get(name, 0) for name in PARTS}
    state = found["weights"] + found["optimizer"] + found["average"]
    if saving:
        parts["checkpoint copies"] = min(state, heap - found["live"])
    parts["holes in the heap"] = heap - sum(found["parts"].values()) - parts.get("checkpoint copies", 0)
    parts = {name: size for name, size in parts.items() if size > 0}
    peak = banded(base, heap + ahead)
    if device.type == "cuda":
        free, limit = torch.cuda.mem_get_info(device)
        parts = {"CUDA": CONTEXT, **{name: found["parts"].get(name, 0) for name in PARTS}}
        peak = banded(CONTEXT, found["live"])
        return Memory(parts=parts, peak=peak, reading=CONTEXT + 2 * state, limit=limit, free=free)
    return Memory(parts=parts, peak=peak, measured=measured, reading=base + 2 * state, limit=memory_bytes(), free=available_bytes())


def banded(base: float, heap: float) -> Estimate:
    return Estimate(
        value=base + heap, low=PROCESS_BAND[0] * base + HEAP_BAND[0] * heap, high=PROCESS_BAND[1] * base + HEAP_BAND[1] * heap,
        how="process and data measured, training rehearsed",
    )


def largest_micro_batch(found: dict[str, Any], micro: int, rows: int, budget: float) -> int:
    """Rows in one pass that fit into a budget of bytes, at most `rows`: memory is affine in them, holes in the heap as large in proportion."""
    other, less = found["other"]
    if other == micro:
        return micro
    slope = max(1.0, (found["trained"] - less) / (micro - other))
    holes = max(1.0, found["resident"] / max(1, found["live"]))
    room = (budget - PROCESS_BAND[1] * (found["process"] + found["data"] + KERNELS)) / (HEAP_BAND[1] * holes)
    return max(0, min(rows, int((room - (found["trained"] - slope * micro)) / slope)))
