"""How a stage of a convolutional network makes maps smaller than it was given them: through the stride of its first layer, by keeping the largest of some
pixels, or by a convolution of patches (ConvNeXt, Liu et al. 2022, arXiv:2201.03545), which may overlap (SegFormer, Xie et al. 2021, arXiv:2105.15203).
"""

from __future__ import annotations

from abc import ABC
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks.convolution import PaddedConv2d
from ftheta.core.config import Part


class Reduction(nn.Module, ABC):
    """(B, inputs, H, W) → (B, channels, about H / factor, about W / factor); `stride` is what it leaves for the first layer to do."""

    channels: int
    stride: int


class Stride(Reduction):
    """The first layer takes the stride."""

    def __init__(self, inputs: int, outputs: int, factor: int, norm: Part):
        super().__init__()
        self.channels, self.stride = inputs, factor

    def forward(self, x: Tensor) -> Tensor:
        return x


class MaxPool(Reduction):
    """The largest of some pixels, nothing put around the map."""

    def __init__(
        self, inputs: int, outputs: int, factor: int, norm: Part, *,
        kernel: Annotated[int | None, Field(gt=0, description="Height and width of what is looked at; none: as much as the size is divided by.")] = None,
    ):
        super().__init__()
        self.channels, self.stride = inputs, 1
        self.factor, self.kernel = factor, kernel or factor

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel, self.factor)

    def needs(self, pixels: int) -> int:
        """The shortest side that gives one of this many pixels."""
        return (pixels - 1) * self.factor + self.kernel


class Patches(Reduction):
    """A convolution and a norm before or after it; unless a kernel is given, it is as large as its stride."""

    def __init__(
        self, inputs: int, outputs: int, factor: int, norm: Part, *,
        norm_place: Annotated[Literal["before", "after"], Field(description="Where the norm stands.")] = "before",
        kernel: Annotated[int | None, Field(gt=0, description="Height and width of a patch, padded by half of it; none: patches do not overlap.")] = None,
    ):
        super().__init__()
        self.channels, self.stride, self.first = outputs, 1, norm_place == "before"
        self.norm = norm.build(dim=inputs if self.first else outputs)
        self.convolution = PaddedConv2d(inputs, outputs, kernel or factor, factor, 0 if kernel is None else "half", bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(self.norm(x)) if self.first else self.norm(self.convolution(x))
