"""Exponential moving average of parameters: a ← d·a + (1-d)·θ with d = min(decay, (1+t)/(10+t)), so that early values fade."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """A second set of parameters that follows the first."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.parameters = dict(model.named_parameters())
        self.values = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), list(self.parameters.values()), 1 - decay)

    def restore(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.values[name].copy_(value)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averaged parameters, for the time of the block."""
        live = {name: p.detach().clone() for name, p in self.parameters.items()}
        try:
            self.put(self.values)
            yield
        finally:
            self.put(live)

    @torch.no_grad()
    def put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
