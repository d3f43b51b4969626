"""Convolution, norm, activation: one step of a convolutional network, y = f(norm(W ∗ x)) (batch norm: Ioffe & Szegedy 2015, arXiv:1502.03167).

An odd kernel is padded by half its size unless said otherwise, so that stride 1 keeps height and width and stride s divides them by s, rounding up.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks import MAP_NORMS
from ftheta.blocks.activation import ActivationName, activate
from ftheta.blocks.fused import AFTER, convolution, fuses
from ftheta.blocks.linear import Conv2d
from ftheta.blocks.norm import BatchNorm2d, NoNorm
from ftheta.core.config import Part, Slot

PaddingName = Literal["half", "same", "end"]
BATCHNORM: Part = Slot(MAP_NORMS).parse("batchnorm")                                      # type: ignore[assignment]


class PaddedConv2d(Conv2d):
    """A convolution whose padding is a number of pixels or a rule for it. `half`: half the kernel on every side. `same`: so much that stride s divides
    height and width by s, rounding up, as little as that takes and an odd pixel at the end (TensorFlow's). `end`: where the stride is above 1 one pixel
    less before than after, as `same` has it when the stride divides the size and is 2.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: PaddingName | int = "half", groups: int = 1, bias: bool = False):
        plain = padding if isinstance(padding, int) else kernel // 2 if padding == "half" or stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, plain, groups=groups, bias=bias)
        self.uneven = None if isinstance(padding, int) or padding == "half" or stride == 1 else padding

    def padded(self, input: Tensor) -> Tensor:
        if self.uneven == "end":
            return F.pad(input, (self.kernel_size[0] // 2 - 1, self.kernel_size[0] // 2) * 2)
        if self.uneven == "same":
            return F.pad(input, [part for size in (input.shape[3], input.shape[2]) for part in self.around(size)])
        return input

    def around(self, size: int) -> tuple[int, int]:
        """Pixels before and after a side of this many."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        whole = max(kernel - (size % stride or stride), 0)
        return whole // 2, whole - whole // 2

    def needs(self, pixels: int) -> int:
        """The shortest side that gives one of this many pixels."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        around = {"end": kernel // 2 * 2 - 1, "same": kernel - 1}.get(str(self.uneven), 2 * int(self.padding[0]))
        return max(1, (pixels - 1) * stride + kernel - around)


class ConvNorm(nn.Module):
    """(B, inputs, H, W) → (B, outputs, ceil(H / stride), ceil(W / stride)). A norm's shift makes a bias of its own pointless; without norm there is one."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, padding: PaddingName | int = "half", groups: int = 1, norm: Part = BATCHNORM,
        activation: ActivationName | None = "relu", bias: bool = False,
    ):
        super().__init__()
        self.convolution = PaddedConv2d(inputs, outputs, kernel, stride, padding, groups, bias or norm.cls is NoNorm)
        self.norm = norm.build(dim=outputs)
        self.activation: ActivationName | None = activation

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """`added` (B, outputs, H', W') is added before the activation."""
        if self.folds(x):
            weight, bias = self.folded()
            if fuses(x) and self.activation in AFTER:
                return convolution(self.convolution.padded(x), weight.to(x.dtype), bias.to(x.dtype), self.convolution, self.activation, added)
            y = self.convolution.convolved(x, weight, bias)
        else:
            y = self.norm(self.convolution(x))
        if added is not None:
            y = y + added
            if self.activation == "relu":
                return y.relu_()                                                          # one tensor less is kept for the gradient
        return y if self.activation is None else activate(self.activation, y)

    def folds(self, x: Tensor) -> bool:
        """Whether the norm is a fixed scale and shift of every channel, of another type than x, and nobody asks for gradients: then the convolution does its work too,
        and nothing is cast there and back."""
        fixed = type(self.norm) is BatchNorm2d and type(self.convolution) is PaddedConv2d and not self.norm.training and x.dtype != self.norm.weight.dtype
        return fixed and not torch.is_grad_enabled() and not torch.compiler.is_exporting()

    def folded(self) -> tuple[Tensor, Tensor]:
        """W' and b' for which norm(W ∗ x + a) = W' ∗ x + b': s W and b + s (a - m), with s = w / sqrt(v + eps), m and v being the norm's statistics."""
        norm, inner = self.norm, self.convolution
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.running_mean if inner.bias is None else norm.running_mean - inner.bias
        return inner.weight * scale[:, None, None, None], norm.bias - scale * shift
