"""Affine maps that compute in the type of their input: float32 weights are cast once per pass, gradients return in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks import fused
from ftheta.blocks.activation import ActivationName, activate
from ftheta.blocks.fused import fuses
from ftheta.core.device import tiles


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b (..., inputs) → (..., outputs), with W (outputs, inputs) and b cast to x's type.

    A single row that nothing is learned from is multiplied as a vector where the processor multiplies in tiles and weights are not packed for them: to bring
    weights into tiles takes longer than to read them once (`python -m benchmarks.decoding`).
    """
    weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    if not fuses(x):
        return F.linear(x, weight, bias)
    if x.numel() > x.shape[-1] or not tiles() or fused.packed(weight) is not None:
        return fused.linear(x, weight, bias)
    row = x.reshape(-1)
    return (torch.mv(weight, row) if bias is None else torch.addmv(bias, weight, row)).view(*x.shape[:-1], -1)


def activated(name: ActivationName, layer: nn.Module, x: Tensor) -> Tensor:
    """activation(layer(x)) (..., inputs) → (..., outputs), in one pass over memory where that can be."""
    if type(layer) is Linear and name in fused.AFTER and fuses(x):
        return fused.linear(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype), name)
    return activate(name, layer(x))


class Linear(nn.Linear):
    """y = x Wᵀ + b with W and b cast to x's type."""

    def forward(self, input: Tensor) -> Tensor:
        return affine(input, self.weight, self.bias)


class Conv2d(nn.Conv2d):
    """2-D convolution with weights cast to the input's type."""

    def forward(self, input: Tensor) -> Tensor:
        return self.convolved(input, self.weight, self.bias)

    def convolved(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """What another weight (outputs, inputs, height, width) would give in its place."""
        kind = weight.dtype if self.learns_slowly(input) else input.dtype
        return self._conv_forward(self.padded(input).to(kind), weight.to(kind), None if bias is None else bias.to(kind)).to(input.dtype)

    def learns_slowly(self, input: Tensor) -> bool:
        """Whether the gradient takes several times as long in the narrow type of the input: that of a large kernel over single channels does on a CPU."""
        single = self.groups == self.in_channels > 1 and max(self.kernel_size) > 3
        return single and input.device.type == "cpu" and input.element_size() < 4 and torch.is_grad_enabled() and self.weight.requires_grad

    def padded(self, input: Tensor) -> Tensor:
        """The input with what is put around it beforehand."""
        return input


def put(model: nn.Module, name: str, part: nn.Module) -> None:
    """Put a part where another one of this name is."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, part)
