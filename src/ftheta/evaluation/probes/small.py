"""A small copy of any architecture: the same parts in the same order, with small sizes, in float64, every parameter away from zero.

Initial parameters will not do for experiments: many are zero or one on purpose, and a part multiplied by zero hides what it does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from ftheta.architectures.architecture import Architecture, ArchitectureConfig
from ftheta.blocks.initialise import normal

HEAD_DIM = 4
"""Even, because rotary positions turn pairs."""
SIZES = {"vocab": 32, "depth": 2, "context": 16, "hidden": 16, "head_dim": HEAD_DIM, "window": 5, "experts": 4, "active": 2}


def shrink(config: ArchitectureConfig, sizes: Mapping[str, int] | None = None) -> ArchitectureConfig:
    """The same composition with every size at most as in `sizes` (default: SIZES), a width that all heads divide, and nothing dropped."""
    return type(config).parse(reduced(config.dump(), dict(SIZES if sizes is None else sizes)))


def found(data: Any, field: str) -> list[int]:
    """Every whole number called `field` anywhere in plain data."""
    if not isinstance(data, Mapping):
        return [value for item in data for value in found(item, field)] if isinstance(data, list) else []
    own = [data[field]] if isinstance(data.get(field), int) else []
    return own + [value for item in data.values() for value in found(item, field)]


def reduced(data: Any, limits: Mapping[str, int]) -> Any:
    """Plain data with numbers of these names no larger than their limits, every `dropout` 0, and, where widths have a limit, every `dim` one that all heads below it divide."""
    if isinstance(data, list):
        return [reduced(item, limits) for item in data]
    if not isinstance(data, Mapping):
        return data
    result = {}
    for name, value in data.items():
        if name == "dim" and "hidden" in limits and isinstance(value, int):
            heads = math.lcm(*found(data, "heads"))
            result[name] = heads * HEAD_DIM if heads > 1 else limits["hidden"]
        elif name in limits and isinstance(value, int) and not isinstance(value, bool):
            cycle = data.get("mixer") if name == "depth" else None
            result[name] = min(value, max(limits[name], len(cycle) if isinstance(cycle, list) else 0))      # so many layers that every sort is there
        else:
            result[name] = 0.0 if name == "dropout" else reduced(value, limits)
    return result


def scatter(model: Architecture, seed: int, scale: float = 0.4) -> Architecture:
    """The model with N(1, scale²) in vectors called weight (norms) and N(0, scale²) in all other parameters, as a function of the seed."""
    for name, parameter in model.named_parameters():
        normal(parameter, scale, seed, "scatter", name)
        if parameter.ndim == 1 and name.endswith("weight"):
            parameter.data += 1
    return model


def small(config: ArchitectureConfig, seed: int = 0) -> Architecture:
    """A float64 instance of the small copy, ready to be looked at."""
    model = shrink(config).build()
    model.initialise(seed)                                                                # buffers too
    scatter(model.double(), seed)
    model.compute_dtype = torch.float64
    return model.eval()
