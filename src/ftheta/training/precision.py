"""Which type to compute in. Parameters, gradients and optimizer state stay float32; activations and products may be bfloat16.

Blocks cast their weights to the type of their input, once a pass; so no automatic casting is needed, and `auto` can simply time
both types on a real batch and take the faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from ftheta.architectures.architecture import Architecture

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose(model: Architecture, once: Callable[[], None], wanted: str) -> str:
    """Set the model's compute type and return its name. `once` runs one forward and backward pass."""
    if wanted != "auto":
        model.compute_dtype = TYPES[wanted]
        return wanted
    seconds: dict[str, float] = {}
    for name in ("float32", "bfloat16", "float32", "bfloat16"):
        model.compute_dtype = TYPES[name]
        once() if name not in seconds else None
        start = time.perf_counter()
        once()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds[name] = min(seconds.get(name, float("inf")), time.perf_counter() - start)
    best = "bfloat16" if seconds["bfloat16"] * 1.1 < seconds["float32"] else "float32"
    model.compute_dtype = TYPES[best]
    return best
