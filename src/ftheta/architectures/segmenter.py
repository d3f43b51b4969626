"""Pictures → the logits of a class at every pixel, all of a trunk's maps at once: each is brought to one width by a layer at every pixel and enlarged to the
finest, and one more layer looks at all of them (the head of SegFormer, Xie et al. 2021, arXiv:2105.15203), on any trunk of pictures.

With z_i the maps, fine to coarse: y = head(f(norm(W [up(W_n z_n), ..., W_1 z_1]))), enlarged to the picture's size. There is no way back up, as in `unet`:
where a trunk's coarse maps have looked at the whole picture already, as a transformer's have, this is enough.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.architectures.architecture import Outputs
from ftheta.architectures.dense import Dense, DenseConfig
from ftheta.blocks import MAP_NORMS
from ftheta.blocks.activation import ActivationName
from ftheta.blocks.convolution import ConvNorm
from ftheta.blocks.initialise import normal
from ftheta.blocks.linear import Conv2d, Linear
from ftheta.core.config import Part, Slot, slot
from ftheta.core.contract import Ports


class SegmenterConfig(DenseConfig):
    """A trunk, and a head on several of its maps."""

    kind: Literal["segmenter"] = "segmenter"
    strides: tuple[int, ...] | None = Field(default=None, min_length=1)
    """The strides of the trunk's maps that are looked at; none: all of them. The answer is as fine as the finest, and what is left to the picture is interpolated."""
    width: int = Field(default=256, gt=0)
    """Channels that every map is brought to."""
    norm: Annotated[Part, Slot(MAP_NORMS)] = slot("batchnorm")
    """The norm of what is made of all of them."""
    activation: ActivationName = "relu"
    """What follows the norm."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of its numbers dropped in training."""

    @model_validator(mode="after")
    def consistent(self) -> Self:
        self.chosen(self.strides, "strides")
        with torch.device("meta"):
            Segmenter(self)
        return self

    def ports(self) -> Ports:
        trunk = self.trunk.ports()
        sizes = {letter: size for letter, size in trunk.sizes.items() if letter != "D"}
        random = {"dropout"} if self.dropout else set()
        return Ports(takes=trunk.takes, gives={"logits": "logits B K H W"}, sizes=sizes, traits=trunk.traits | self.norm.traits | random)

    def build(self) -> Segmenter:
        return Segmenter(self)


class Segmenter(Dense):
    """image (B, C, H, W) → logits (B, K, H, W)."""

    def __init__(self, config: SegmenterConfig):
        super().__init__(config)
        self.config: SegmenterConfig = config
        levels = config.chosen(config.strides, "strides")
        self.names = [level.name for level in levels]
        self.lateral = nn.ModuleList(Linear(level.channels, config.width) for level in levels)
        self.fuse = ConvNorm(len(levels) * config.width, config.width, kernel=1, norm=config.norm, activation=config.activation)
        self.head = Conv2d(config.width, config.classes, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]         # a quarter less time on a CPU, whatever the type

    def forward(self, image: Tensor) -> Outputs:
        maps = self.maps(image)
        found = [lateral(maps[name].permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for name, lateral in zip(self.names, self.lateral, strict=True)]
        finest = found[0].shape[2:]
        whole = torch.cat([enlarged(one, finest) for one in reversed(found)], 1)
        hidden = F.dropout(self.fuse(whole), self.config.dropout, self.training)
        return Outputs({"logits": enlarged(self.head(hidden), image.shape[2:])})

    def initialise(self, seed: int) -> None:
        """As `Dense`, the head N(0, 0.01²): the first loss is about ln K at every pixel."""
        super().initialise(seed)
        normal(self.head.weight, 0.01, seed, "head.weight")


def enlarged(x: Tensor, size: torch.Size) -> Tensor:
    """A map brought to this height and width, bilinear."""
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
