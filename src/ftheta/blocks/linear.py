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
        return self.convolved(input, self.weight, self.bias)

    def convolved(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """What another weight (outputs, inputs, height, width) would give in its place."""
        return self._conv_forward(self.padded(input), weight.to(input.dtype), None if bias is None else bias.to(input.dtype))

    def padded(self, input: Tensor) -> Tensor:
        """The input with what is put around it beforehand."""
        return input


def put(model: nn.Module, name: str, part: nn.Module) -> None:
    """Put a part where another one of this name is."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, part)
