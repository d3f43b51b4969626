"""Stochastic gradient descent with momentum (Sutskever et al. 2013)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from ftheta.training.optimizers.optimizer import Named, OptimizerConfig, decay_groups


class SGD(OptimizerConfig):
    """u ← momentum·u + g + decay·θ, θ ← θ - rate·u (with Nesterov's look-ahead if wished)."""

    kind: Literal["sgd"] = "sgd"
    rate: float = Field(default=0.1, gt=0)
    """Learning rate, before the schedule's factor."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Memory of past gradients."""
    nesterov: bool = True
    """Look ahead along the momentum."""

    def build(self, parameters: Named) -> list[torch.optim.Optimizer]:
        nesterov = self.nesterov and self.momentum > 0
        return [torch.optim.SGD(decay_groups(parameters, self.decay), lr=self.rate, momentum=self.momentum, nesterov=nesterov)]
