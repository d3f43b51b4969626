"""Affine maps that compute in the type of their input: float32 weights are cast once per pass, gradients return in float32."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """y = x Wᵀ + b with W and b cast to x's type."""

    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.linear(input, self.weight.to(input.dtype), bias)


class Conv2d(nn.Conv2d):
    """2-D convolution with weights cast to the input's type."""

    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return self._conv_forward(input, self.weight.to(input.dtype), bias)


def put(model: nn.Module, name: str, part: nn.Module) -> None:
    """Put a part where another one of this name is."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, part)
