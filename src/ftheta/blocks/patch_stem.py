"""How a picture becomes tokens for a transformer: patches that do not overlap, each through one linear map (Dosovitskiy et al. 2020, arXiv:2010.11929), or a
few convolutions of stride 2 (Xiao et al. 2021, arXiv:2106.14881), which make the model a hybrid.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from ftheta.blocks import MAP_NORMS
from ftheta.blocks.activation import ActivationName
from ftheta.blocks.convolution import ConvNorm
from ftheta.blocks.linear import Conv2d
from ftheta.core.config import Part, Slot


class PatchStem(nn.Module, ABC):
    """(B, channels, H, W) → (B, dim, H / stride, W / stride)."""

    stride: int


class PatchesStem(PatchStem):
    """W ∗ x + b, the kernel as large as its stride; pixels left over at the end are not looked at."""

    def __init__(self, channels: int, dim: int, *, size: Annotated[int, Field(gt=0, description="Height and width of a patch, in pixels.")] = 16):
        super().__init__()
        self.stride = size
        self.convolution = Conv2d(channels, dim, size, size)

    def forward(self, image: Tensor) -> Tensor:
        return self.convolution(image)


class ConvolutionsStem(PatchStem):
    """3×3 convolutions of stride 2, one for each width, and a 1×1 convolution to the model's width."""

    def __init__(
        self, channels: int, dim: int, *,
        widths: Annotated[tuple[int, ...], Field(min_length=1, description="Channels of every convolution; each halves height and width.")] = (48, 96, 192, 384),
        norm: Annotated[Annotated[Part, Slot(MAP_NORMS)], Field(description="The norm of these convolutions.")] = "batchnorm",                # type: ignore[assignment]
        activation: Annotated[ActivationName, Field(description="What follows each of them.")] = "relu",
    ):
        super().__init__()
        self.stride = 2 ** len(widths)
        given = (channels, *widths)
        self.layers = nn.Sequential(*(ConvNorm(a, b, stride=2, norm=norm, activation=activation) for a, b in zip(given, widths, strict=False)))
        self.convolution = Conv2d(widths[-1], dim, 1)

    @staticmethod
    def traits(arguments: Mapping[str, Any]) -> frozenset[str]:
        return arguments["norm"].traits

    def forward(self, image: Tensor) -> Tensor:
        return self.convolution(self.layers(image))
