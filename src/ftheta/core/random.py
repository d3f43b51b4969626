"""Randomness as a pure function of (seed, where): no generator state ever needs to be carried or saved.

Every draw is keyed by the run's seed and by the place it is made (epoch, step, row, purpose). A resumed run therefore draws
what the uninterrupted one would have drawn, and one row gets the same draw in any micro-batch or process.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from ftheta.core.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def key(*parts: int | str) -> int:
    """A 63-bit seed from any number of integers and names."""
    return xxhash.xxh3_64_intdigest("/".join(map(str, parts)).encode()) >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator for one place."""
    return torch.Generator().manual_seed(key(*parts))


def seed_all(*parts: int | str) -> None:
    """Seed the global generators (dropout, third-party code) for one place."""
    value = key(*parts)
    torch.manual_seed(value)
    random.seed(value)
    np.random.seed(value % 2**32)


class Draws:
    """Random numbers for the rows of one step, the same for a row however the batch is divided.

    `rows` are the positions (B,) of this part of the batch within the step's `total` rows: numbers are drawn for all rows of the
    step and the wanted rows taken.
    """

    def __init__(self, rows: Tensor, total: int, *parts: int | str):
        self.rows = rows
        self.total = total
        self.parts = parts
        self.calls = 0

    def _generator(self) -> torch.Generator:
        self.calls += 1
        return generator(*self.parts, self.calls)

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) in [0, 1)."""
        return torch.rand(self.total, *shape, generator=self._generator())[self.rows]

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) standard normal."""
        return torch.randn(self.total, *shape, generator=self._generator())[self.rows]

    def integers(self, high: int, *shape: int) -> Tensor:
        """(B, *shape) in 0 .. high-1."""
        return torch.randint(high, (self.total, *shape), generator=self._generator())[self.rows]

    def partners(self) -> Tensor:
        """(B,) another row of the step for each, or itself: all rows of the step in a random order."""
        return torch.randperm(self.total, generator=self._generator())[self.rows]

    def beta(self, alpha: float) -> Tensor:
        """(B,) of Beta(alpha, alpha), float32."""
        self.calls += 1
        return torch.from_numpy(np.random.default_rng(key(*self.parts, self.calls)).beta(alpha, alpha, self.total)).float()[self.rows]
