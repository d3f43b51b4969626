"""What a detector makes of its maps, chosen by `{kind: name, ...}`: boxes in pixels of the image and how likely each shows which class.

`places`: at every place of every map the distances to a box's four sides, each softplus(z) · s where the map's stride is s, and a logit of every class by itself
(FCOS, Tian et al. 2019, arXiv:1904.01355; YOLOX, Ge et al. 2021, arXiv:2107.08430). Class and box have convolutions of their own, and every map its own of
both. There is no logit of its own for "something is here": the classes' say that too.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks.activation import ActivationName
from ftheta.blocks.convolution import ConvNorm
from ftheta.blocks.initialise import normal
from ftheta.blocks.linear import Conv2d
from ftheta.core.config import Part

RARE = 0.01
"""The share that every class has at every place at first (Lin et al. 2017, arXiv:1708.02002): nearly everywhere there is nothing."""
REACH = 2.0
"""How many strides the sides are away at first."""


class DetectionHead(nn.Module, ABC):
    """Maps (B, width, h, w), fine to coarse, of an image of a size (H, W) → boxes (B, L, 4) and logits (B, L, K) of each class by itself, and what else it `gives`.

    Built for the maps' width and strides, the classes, how many layers there are before the answer, and the detector's norm and activation.
    """

    def __init__(self, width: int, strides: Sequence[int], classes: int, depth: int, norm: Part, activation: ActivationName):
        super().__init__()
        self.strides, self.classes = tuple(strides), classes

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        """Its outputs besides boxes and logits, as port specs."""
        return {}

    @staticmethod
    def takes() -> dict[str, str]:
        """Its inputs besides maps, as port specs."""
        return {}

    @abstractmethod
    def forward(self, maps: Sequence[Tensor], size: tuple[int, int], given: Tensor | None = None) -> dict[str, Tensor]:
        """`given` are the boxes that are there (B, N, 4), which those that take them look at in training."""

    @abstractmethod
    def initialise(self, seed: int, place: str) -> None:
        """Set the parameters that do not start as those of convolutions, maps and norms do, from the seed and this part's name in the model."""


class Tower(nn.Sequential):
    """(B, width, h, w) → (B, width, h, w): so many convolutions of 3×3."""

    def __init__(self, width: int, depth: int, norm: Part, activation: ActivationName):
        super().__init__(*(ConvNorm(width, width, norm=norm, activation=activation) for _ in range(depth)))


class PlaceHead(nn.Module):
    """(B, width, h, w) → logits (B, answers, h, w) and what boxes are made of (B, sides, h, w)."""

    def __init__(self, width: int, answers: int, sides: int, depth: int, norm: Part, activation: ActivationName):
        super().__init__()
        self.class_tower, self.box_tower = Tower(width, depth, norm, activation), Tower(width, depth, norm, activation)
        self.classes = Conv2d(width, answers, 1)
        self.sides = Conv2d(width, sides, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.classes(self.class_tower(x)), self.sides(self.box_tower(x))


class Places(DetectionHead):
    """A box and the logits of its class at every place; besides these places (B, L, 3): x, y and stride."""

    def __init__(self, width: int, strides: Sequence[int], classes: int, depth: int, norm: Part, activation: ActivationName):
        super().__init__(width, strides, classes, depth, norm, activation)
        for i in range(len(strides)):
            self.add_module(str(i), PlaceHead(width, classes, 4, depth, norm, activation))

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"places": "real B L 3"}

    def __getitem__(self, level: int) -> PlaceHead:
        part = self.get_submodule(str(level))
        assert isinstance(part, PlaceHead)
        return part

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int], given: Tensor | None = None) -> dict[str, Tensor]:
        boxes, logits, places = [], [], []
        for level, (stride, hidden) in enumerate(zip(self.strides, maps, strict=True)):
            scores, sides = self[level](hidden)
            here = centres(hidden, stride)                                                # (L, 3)
            full = torch.promote_types(sides.dtype, torch.float32)                        # a bfloat16 has 8 bits for a place among hundreds
            away = F.softplus(sides.flatten(2).transpose(1, 2).to(full)) * stride         # (B, L, 4): left, top, right, bottom
            boxes.append(torch.cat([here[:, :2].to(full) - away[..., :2], here[:, :2].to(full) + away[..., 2:]], -1))
            logits.append(scores.flatten(2).transpose(1, 2))
            places.append(here.expand(hidden.shape[0], -1, -1))
        return {"boxes": torch.cat(boxes, 1), "logits": torch.cat(logits, 1), "places": torch.cat(places, 1)}

    def initialise(self, seed: int, place: str) -> None:
        """The last layers N(0, 0.01²), their biases such that classes are rare and boxes some strides wide."""
        for level in range(len(self.strides)):
            head = self[level]
            normal(head.classes.weight, 0.01, seed, f"{place}.{level}.classes.weight")
            normal(head.sides.weight, 0.01, seed, f"{place}.{level}.sides.weight")
            assert head.classes.bias is not None and head.sides.bias is not None
            head.classes.bias.data.fill_(-math.log((1 - RARE) / RARE))
            head.sides.bias.data.fill_(math.log(math.expm1(REACH)))


def centres(hidden: Tensor, stride: int) -> Tensor:
    """(h · w, 3): x and y of the middle of what each pixel of a map (B, C, h, w) stands for, and the stride; row by row."""
    down, right = ((torch.arange(side, device=hidden.device, dtype=torch.float32) + 0.5) * stride for side in hidden.shape[2:])
    y, x = torch.meshgrid(down, right, indexing="ij")
    return torch.stack([x.flatten(), y.flatten(), torch.full_like(x, stride).flatten()], -1)


def alone(logits: Tensor) -> Tensor:
    """(..., K): log p / (1 - p) of every class but the last, p being the softmax of logits (..., K + 1)."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    others = wide.unsqueeze(-2).expand(*wide.shape, wide.shape[-1]).masked_fill(torch.eye(wide.shape[-1], dtype=torch.bool, device=wide.device), float("-inf"))
    return (wide - others.logsumexp(-1))[..., :-1].to(logits)
