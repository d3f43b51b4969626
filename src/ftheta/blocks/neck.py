"""Between a trunk of pictures and what answers at its maps: every map learns of the coarser ones, and of the finer ones, and comes out equally wide.

FPN (Lin et al. 2016, arXiv:1612.03144): from coarse to fine, P_i = conv(lateral(C_i) + up(P_{i+1})). PAN (Liu et al. 2018, arXiv:1803.01534) goes on
from fine to coarse: N_i = conv(P_i + down(N_{i-1})). A projection lets every map keep to itself: P_i = W_i C_i + b_i.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks.activation import ActivationName
from ftheta.blocks.convolution import ConvNorm
from ftheta.blocks.linear import Conv2d
from ftheta.core.config import Part


class FPN(nn.Module):
    """Maps (B, channels[i], h_i, w_i), fine to coarse → (B, width, h_i, w_i)."""

    def __init__(self, channels: Sequence[int], width: int, norm: Part, activation: ActivationName):
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(inputs, width, kernel=1, norm=norm, activation=activation) for inputs in channels)
        self.smooth = nn.ModuleList(ConvNorm(width, width, norm=norm, activation=activation) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        inner = [lateral(found) for lateral, found in zip(self.lateral, maps, strict=True)]
        for i in reversed(range(len(inner) - 1)):
            inner[i] = inner[i] + F.interpolate(inner[i + 1], inner[i].shape[2:], mode="nearest")
        return [smooth(found) for smooth, found in zip(self.smooth, inner, strict=True)]


class PAN(FPN):
    """As `FPN`, and back again from fine to coarse."""

    def __init__(self, channels: Sequence[int], width: int, norm: Part, activation: ActivationName):
        super().__init__(channels, width, norm, activation)
        self.down = nn.ModuleList(ConvNorm(width, width, stride=2, norm=norm, activation=activation) for _ in channels[1:])
        self.again = nn.ModuleList(ConvNorm(width, width, norm=norm, activation=activation) for _ in channels[1:])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        found = super().forward(maps)
        for i, (down, again) in enumerate(zip(self.down, self.again, strict=True), 1):
            lower = down(found[i - 1])
            if lower.shape[2:] != found[i].shape[2:]:                                     # maps whose sizes are no halves of each other
                lower = F.interpolate(lower, found[i].shape[2:], mode="nearest")
            found[i] = again(found[i] + lower)
        return found


class Projection(nn.Module):
    """As `FPN`, every map by itself, without norm and activation."""

    def __init__(self, channels: Sequence[int], width: int, norm: Part, activation: ActivationName):
        super().__init__()
        self.lateral = nn.ModuleList(Conv2d(inputs, width, 1) for inputs in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [lateral(found) for lateral, found in zip(self.lateral, maps, strict=True)]
