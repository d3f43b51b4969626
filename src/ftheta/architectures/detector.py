"""Finds things in pictures: a trunk, a neck through which its maps learn of each other, and a head that says boxes and classes, each a slot.

One stage without anchor boxes is head `places`, with them `anchors`; two stages are `regions`; a set of boxes said by learned queries is head `queries` on a
`projection` of the coarsest map.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ftheta.architectures.architecture import Outputs
from ftheta.architectures.dense import Dense, DenseConfig
from ftheta.blocks import DETECTION_HEADS, MAP_NORMS, NECKS
from ftheta.blocks.activation import ActivationName
from ftheta.blocks.detection_head import DetectionHead
from ftheta.core.config import Part, Slot, slot
from ftheta.core.contract import Ports


class DetectorConfig(DenseConfig):
    """A trunk, a neck and a head."""

    kind: Literal["detector"] = "detector"
    strides: tuple[int, ...] | None = Field(default=None, min_length=1)
    """The strides of the trunk's maps that are looked at; none: all of them. Small things need fine maps, and those cost most."""
    neck: Annotated[Part, Slot(NECKS)] = slot("pan")
    """What the maps tell each other."""
    head: Annotated[Part, Slot(DETECTION_HEADS)] = slot("places")
    """What is made of them."""
    width: int = Field(default=64, gt=0)
    """Channels of neck and head."""
    depth: int = Field(default=2, ge=0)
    """Layers of the head: convolutions of 3×3 before the class, and as many before the box; layers of queries."""
    norm: Annotated[Part, Slot(MAP_NORMS)] = slot("batchnorm")
    """The norm after the convolutions of neck and head."""
    activation: ActivationName = "silu"
    """What follows the norm, and stands in the mlps of queries."""

    @model_validator(mode="after")
    def consistent(self) -> Self:
        self.chosen(self.strides, "strides")
        with torch.device("meta"):
            Detector(self)
        return self

    def ports(self) -> Ports:
        trunk = self.trunk.ports()
        sizes = {letter: size for letter, size in trunk.sizes.items() if letter != "D"}
        gives = {"boxes": "boxes B L 4", "logits": "logits B L K", **self.head.cls.gives(self.head.arguments)}
        return Ports(takes={**trunk.takes, **self.head.cls.takes()}, gives=gives, sizes=sizes, traits=trunk.traits | self.norm.traits | self.head.traits)

    def build(self) -> Detector:
        return Detector(self)


class Detector(Dense):
    """image (B, C, H, W) → boxes (B, L, 4) in pixels of the image, logits (B, L, K) of each class by itself, and what the head gives besides.

    Boxes that are there (B, N, 4) may be given with the image, to a head that takes them and in training.
    """

    def __init__(self, config: DetectorConfig):
        super().__init__(config)
        self.config: DetectorConfig = config
        levels = config.chosen(config.strides, "strides")
        self.names, strides = [level.name for level in levels], [level.stride for level in levels]
        parts = {"width": config.width, "norm": config.norm, "activation": config.activation}
        self.neck = config.neck.build(channels=[level.channels for level in levels], **parts)
        self.heads: DetectionHead = config.head.build(strides=strides, classes=config.classes, depth=config.depth, **parts)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]         # a quarter less time on a CPU, whatever the type

    def forward(self, image: Tensor, given: Tensor | None = None) -> Outputs:
        maps = self.maps(image)
        return Outputs(self.heads(self.neck([maps[name] for name in self.names]), (image.shape[2], image.shape[3]), given))

    def initialise(self, seed: int) -> None:
        """As `Dense`, then as the head says."""
        super().initialise(seed)
        self.heads.initialise(seed, "heads")
