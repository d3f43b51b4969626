"""One-stage detector without anchor boxes: at every place of a trunk's maps a box and the logits of its class (FCOS, Tian et al. 2019, arXiv:1904.01355;
YOLOX, Ge et al. 2021, arXiv:2107.08430): trunk, neck and heads.

A place at (x, y) of a map of stride s says how far the four sides are, each softplus(z) · s: its box is (x - l, y - t, x + r, y + b). Class and box have
convolutions of their own, and every map its own of both. There is no logit of its own for "something is here": the classes' say that too.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.architectures.architecture import Outputs
from ftheta.architectures.dense import Dense, DenseConfig
from ftheta.blocks import MAP_NORMS, NECKS
from ftheta.blocks.convolution import ConvNorm
from ftheta.blocks.feedforward import ActivationName
from ftheta.blocks.initialise import normal
from ftheta.blocks.linear import Conv2d
from ftheta.core.config import Part, Slot, slot
from ftheta.core.contract import Ports

RARE = 0.01
"""The share that every class has at every place at first (Lin et al. 2017, arXiv:1708.02002): nearly everywhere there is nothing."""
REACH = 2.0
"""How many strides the sides are away at first."""


class DetectorConfig(DenseConfig):
    """A trunk, a neck and heads."""

    kind: Literal["detector"] = "detector"
    strides: tuple[int, ...] | None = Field(default=None, min_length=1)
    """The strides of the trunk's maps that are looked at; none: all of them. Small things need fine maps, and those cost most."""
    neck: Annotated[Part, Slot(NECKS)] = slot("pan")
    """What the maps tell each other."""
    width: int = Field(default=64, gt=0)
    """Channels of neck and heads."""
    depth: int = Field(default=2, ge=0)
    """Convolutions of 3×3 before the class, and as many before the box."""
    norm: Annotated[Part, Slot(MAP_NORMS)] = slot("batchnorm")
    """The norm after the convolutions of neck and heads."""
    activation: ActivationName = "silu"
    """What follows the norm."""

    @model_validator(mode="after")
    def consistent(self) -> Self:
        self.chosen(self.strides, "strides")
        with torch.device("meta"):
            Detector(self)
        return self

    def ports(self) -> Ports:
        trunk = self.trunk.ports()
        sizes = {letter: size for letter, size in trunk.sizes.items() if letter != "D"}
        gives = {"boxes": "boxes B L 4", "logits": "logits B L K", "places": "real B L 3"}
        return Ports(takes=trunk.takes, gives=gives, sizes=sizes, traits=trunk.traits | self.norm.traits)

    def build(self) -> Detector:
        return Detector(self)


class Head(nn.Module):
    """(B, width, h, w) → logits (B, K, h, w) and what the sides' distances are made of (B, 4, h, w)."""

    def __init__(self, config: DetectorConfig):
        super().__init__()

        def tower() -> nn.Sequential:
            return nn.Sequential(*(ConvNorm(config.width, config.width, norm=config.norm, activation=config.activation) for _ in range(config.depth)))

        self.class_tower, self.box_tower = tower(), tower()
        self.classes = Conv2d(config.width, config.classes, 1)
        self.sides = Conv2d(config.width, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.classes(self.class_tower(x)), self.sides(self.box_tower(x))


class Detector(Dense):
    """image (B, C, H, W) → boxes (B, L, 4) in pixels of the image, logits (B, L, K) of each class by itself, and places (B, L, 3): x, y and stride."""

    def __init__(self, config: DetectorConfig):
        super().__init__(config)
        self.config: DetectorConfig = config
        levels = config.chosen(config.strides, "strides")
        self.names, self.strides = [level.name for level in levels], [level.stride for level in levels]
        self.neck = config.neck.build(channels=[level.channels for level in levels], width=config.width, norm=config.norm, activation=config.activation)
        self.heads = nn.ModuleList(Head(config) for _ in levels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]         # a quarter less time on a CPU, whatever the type

    def forward(self, image: Tensor) -> Outputs:
        maps = self.maps(image)
        boxes, logits, places = [], [], []
        for head, stride, hidden in zip(self.heads, self.strides, self.neck([maps[name] for name in self.names]), strict=True):
            scores, sides = head(hidden)
            here = centres(hidden, stride)                                                # (L, 3)
            full = torch.promote_types(sides.dtype, torch.float32)                        # a bfloat16 has 8 bits for a place among hundreds
            away = F.softplus(sides.flatten(2).transpose(1, 2).to(full)) * stride         # (B, L, 4): left, top, right, bottom
            boxes.append(torch.cat([here[:, :2].to(full) - away[..., :2], here[:, :2].to(full) + away[..., 2:]], -1))
            logits.append(scores.flatten(2).transpose(1, 2))
            places.append(here.expand(image.shape[0], -1, -1))
        return Outputs({"boxes": torch.cat(boxes, 1), "logits": torch.cat(logits, 1), "places": torch.cat(places, 1)})

    def initialise(self, seed: int) -> None:
        """As `Dense`; the last layers N(0, 0.01²), their biases such that classes are rare and boxes some strides wide."""
        super().initialise(seed)
        for i, head in enumerate(self.heads):
            assert isinstance(head, Head)
            normal(head.classes.weight, 0.01, seed, f"heads.{i}.classes.weight")
            normal(head.sides.weight, 0.01, seed, f"heads.{i}.sides.weight")
            assert head.classes.bias is not None and head.sides.bias is not None
            head.classes.bias.data.fill_(-math.log((1 - RARE) / RARE))
            head.sides.bias.data.fill_(math.log(math.expm1(REACH)))


def centres(hidden: Tensor, stride: int) -> Tensor:
    """(h · w, 3): x and y of the middle of what each pixel of a map (B, C, h, w) stands for, and the stride; row by row."""
    down, right = ((torch.arange(side, device=hidden.device, dtype=torch.float32) + 0.5) * stride for side in hidden.shape[2:])
    y, x = torch.meshgrid(down, right, indexing="ij")
    return torch.stack([x.flatten(), y.flatten(), torch.full_like(x, stride).flatten()], -1)
