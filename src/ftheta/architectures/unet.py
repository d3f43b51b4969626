"""U-Net: pictures → the logits of a class at every pixel (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597), on any trunk of pictures.

The trunk's coarsest map is enlarged step by step; at every step the trunk's own map of that size is joined to it (a skip) and a few convolutions follow.
Which maps are joined is said (`skips`). What is left to the picture's own size is interpolated; so a `vit`, which has a single map, answers at every
patch, as the linear decoder of Segmenter does (Strudel et al. 2021, arXiv:2105.05633).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.architectures.architecture import Outputs
from ftheta.architectures.dense import Dense, DenseConfig
from ftheta.architectures.image_trunk import Level
from ftheta.blocks import MAP_NORMS
from ftheta.blocks.activation import ActivationName
from ftheta.blocks.convolution import ConvNorm
from ftheta.blocks.initialise import normal
from ftheta.blocks.linear import Conv2d
from ftheta.core.config import Part, Slot, slot
from ftheta.core.contract import Ports


class UNetConfig(DenseConfig):
    """A trunk, and the way back up."""

    kind: Literal["unet"] = "unet"
    skips: tuple[int, ...] | None = None
    """The strides of the trunk's maps that are joined on the way up; none: of all maps. The way up begins with the coarsest in any case."""
    widths: tuple[int, ...] | None = None
    """Channels after every step up, coarse to fine; none: as many as the map that is joined has."""
    depth: int = Field(default=2, gt=0)
    """Convolutions of 3×3 in every step up."""
    norm: Annotated[Part, Slot(MAP_NORMS)] = slot("batchnorm")
    """The norm after every convolution on the way up."""
    activation: ActivationName = "relu"
    """What follows the norm."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of channels of the coarsest map that are dropped in training."""

    @model_validator(mode="after")
    def consistent(self) -> Self:
        joined = self.joined()
        if self.widths is not None and (len(self.widths) != len(joined) or min(self.widths, default=1) < 1):
            raise ValueError(f"widths: give a number of channels for each of the {len(joined)} steps up, got {list(self.widths)}")
        with torch.device("meta"):
            UNet(self)
        return self

    def joined(self) -> list[Level]:
        """The maps that are joined, coarse to fine. Raises ValueError."""
        *finer, coarsest = self.chosen(None, "skips")
        if self.skips is None:
            return finer[::-1]
        if coarsest.stride in self.skips:
            raise ValueError(f"skips: the way up begins with the map of stride {coarsest.stride}, so it cannot be joined as well: leave it out")
        return self.chosen(self.skips, "skips")[::-1]

    def ports(self) -> Ports:
        trunk = self.trunk.ports()
        sizes = {letter: size for letter, size in trunk.sizes.items() if letter != "D"}
        random = {"dropout"} if self.dropout else set()
        return Ports(takes=trunk.takes, gives={"logits": "logits B K H W"}, sizes=sizes, traits=trunk.traits | self.norm.traits | random)

    def build(self) -> UNet:
        return UNet(self)


class Up(nn.Module):
    """(B, inputs, h, w) and a finer map (B, skipped, H, W) → (B, width, H, W)."""

    def __init__(self, inputs: int, skipped: int, width: int, config: UNetConfig):
        super().__init__()
        channels = [inputs + skipped, *[width] * config.depth]
        self.layers = nn.Sequential(*(ConvNorm(channels[i], width, norm=config.norm, activation=config.activation) for i in range(config.depth)))

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        larger = F.interpolate(x, skipped.shape[2:], mode="nearest")                      # sizes that halving rounded up come out right
        return self.layers(torch.cat([larger, skipped], 1))


class UNet(Dense):
    """image (B, C, H, W) → logits (B, K, H, W)."""

    def __init__(self, config: UNetConfig):
        super().__init__(config)
        self.config: UNetConfig = config
        joined = config.joined()
        widths = config.widths or [level.channels for level in joined]
        coarsest = config.chosen(None, "skips")[-1]
        inputs = [coarsest.channels, *widths]
        self.begins, self.joins = coarsest.name, [level.name for level in joined]
        self.up = nn.ModuleList(Up(inputs[i], level.channels, widths[i], config) for i, level in enumerate(joined))
        self.head = Conv2d(inputs[-1], config.classes, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]         # a quarter less time on a CPU, whatever the type

    def forward(self, image: Tensor) -> Outputs:
        maps = self.maps(image)
        hidden = F.dropout2d(maps[self.begins], self.config.dropout, self.training)
        for name, up in zip(self.joins, self.up, strict=True):
            hidden = up(hidden, maps[name])
        logits = self.head(hidden)
        if logits.shape[2:] != image.shape[2:]:
            logits = F.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False)
        return Outputs({"logits": logits})

    def initialise(self, seed: int) -> None:
        """As `Dense`, the head N(0, 0.01²): the first loss is about ln K at every pixel."""
        super().initialise(seed)
        normal(self.head.weight, 0.01, seed, "head.weight")
