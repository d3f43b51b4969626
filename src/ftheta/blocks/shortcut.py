"""What a residual layer adds to where its shape changes (He et al. 2015, arXiv:1512.03385, section 3.3): a 1×1 convolution (their options B and C), or the
pixels that the stride leaves with channels of zeros around them (option A, which has no weights).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks.convolution import ConvNorm


class Projection(ConvNorm):
    """norm(W ∗ x), W 1×1."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(inputs, outputs, kernel=1, stride=stride, activation=None)


class Pad(nn.Module):
    """Every stride-th pixel, as many channels of zeros before x's as after."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        if outputs < inputs:
            raise ValueError(f"shortcut pad adds channels, and cannot go from {inputs} to {outputs}: choose projection")
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.behind = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.behind))
