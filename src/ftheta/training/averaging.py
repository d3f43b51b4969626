"""Exponential moving average of parameters: a ← d·a + (1-d)·θ with d = min(decay, (1+t)/(10+t)), so that early values fade.

What else a model saves (the running statistics of batch norm) is averaged with them: statistics of the last parameters are not those of averaged ones.
Whole numbers, such as a count of batches, are taken over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """A second set of parameters, and of saved buffers, that follows the first."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.parameters = {**dict(model.named_parameters()), **saved_buffers(model)}
        self.values = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.real = [name for name, p in self.parameters.items() if p.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([self.values[name] for name in self.real], [self.parameters[name].detach() for name in self.real], 1 - decay)
        for name in self.parameters.keys() - self.real:
            self.values[name].copy_(self.parameters[name])

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


def saved_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that are saved with the model, by name."""
    kept = model.state_dict(keep_vars=True).keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in kept}
