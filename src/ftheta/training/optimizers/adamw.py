"""Adam with decoupled weight decay (Loshchilov & Hutter 2017, arXiv:1711.05101), torch's fused kernel."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from ftheta.training.optimizers.optimizer import Named, OptimizerConfig, decay_groups


class AdamW(OptimizerConfig):
    """m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g², θ ← θ - rate·(m̂ / (√v̂ + ε) + decay·θ)."""

    kind: Literal["adamw"] = "adamw"
    rate: float = Field(default=1e-3, gt=0)
    """Learning rate, before the schedule's factor."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Memory of the mean and of the square of gradients."""
    eps: float = Field(default=1e-8, gt=0)
    """Keeps the division finite."""

    def build(self, parameters: Named) -> list[torch.optim.Optimizer]:
        return [torch.optim.AdamW(decay_groups(parameters, self.decay), lr=self.rate, betas=self.betas, eps=self.eps, fused=True)]
