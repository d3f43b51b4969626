"""Convolution, batch norm, ReLU: one step of a convolutional network, y = relu(norm(W ∗ x)) (Ioffe & Szegedy 2015, arXiv:1502.03167).

An odd kernel is padded by half its size, so that stride 1 keeps height and width and stride s divides them by s, rounding up.
"""

from __future__ import annotations

from torch import Tensor, nn

from ftheta.blocks.linear import Conv2d
from ftheta.blocks.norm import BatchNorm2d


class ConvNorm(nn.Module):
    """(B, inputs, H, W) → (B, outputs, ceil(H / stride), ceil(W / stride)). The norm's shift makes a bias of its own pointless."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, activate: bool = True):
        super().__init__()
        self.convolution = Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = BatchNorm2d(outputs)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.convolution(x))
        return y.relu() if self.activate else y
