"""Learning-rate schedules: a factor in [0, 1] as a function of progress, the share of the budget already used.

Because progress is a share, the same schedule serves budgets of steps, tokens, epochs and minutes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

from pydantic import Field

from ftheta.core.catalog import Catalogue
from ftheta.core.config import Config

SCHEDULES = Catalogue(
    "schedule",
    {
        "constant": "ftheta.training.schedules:Constant",
        "cosine": "ftheta.training.schedules:Cosine",
        "linear_decay": "ftheta.training.schedules:LinearDecay",
        "warmup_stable_decay": "ftheta.training.schedules:WarmupStableDecay",
    },
)


class Schedule(Config, ABC):
    """Warm-up, then a shape of its own."""

    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of the budget over which the rate rises from zero."""

    def factor(self, progress: float) -> float:
        """The rate's factor at this progress in [0, 1]."""
        progress = min(max(progress, 0.0), 1.0)
        rise = min(1.0, (progress + 1e-3) / self.warmup) if self.warmup else 1.0          # never quite zero at the first step
        return rise * self.shape(progress)

    @abstractmethod
    def shape(self, progress: float) -> float: ...


class Constant(Schedule):
    """1."""

    kind: Literal["constant"] = "constant"

    def shape(self, progress: float) -> float:
        return 1.0


class Decaying(Schedule):
    """A schedule that ends low."""

    floor: float = Field(default=0.0, ge=0, le=1)
    """The factor at the end."""


class LinearDecay(Decaying):
    """From 1 after the warm-up in a straight line to the floor."""

    kind: Literal["linear_decay"] = "linear_decay"

    def shape(self, progress: float) -> float:
        share = max(0.0, progress - self.warmup) / (1 - self.warmup)
        return 1 - (1 - self.floor) * share


class Cosine(Decaying):
    """From 1 after the warm-up along half a cosine to the floor (Loshchilov & Hutter 2016, arXiv:1608.03983)."""

    kind: Literal["cosine"] = "cosine"

    def shape(self, progress: float) -> float:
        share = max(0.0, progress - self.warmup) / (1 - self.warmup)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share))


class WarmupStableDecay(Decaying):
    """1 until the last part of the budget, then in a straight line to the floor (Hu et al. 2024, arXiv:2404.06395)."""

    kind: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    decay: float = Field(default=0.3, gt=0, le=1)
    """Share of the budget spent decaying."""

    def shape(self, progress: float) -> float:
        return 1 - (1 - self.floor) * max(0.0, progress - (1 - self.decay)) / self.decay
