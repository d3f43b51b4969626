"""Changes that move pixels: shifts, flips, turns, crops."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ftheta.core.random import Draws
from ftheta.data.augment.augmentation import Move, Moving, choose, inverse, sampled, scaling, straight
from ftheta.data.frame import Size


class Shift(Moving):
    """Moves a picture by whole pixels: the same as a border around it and a random crop out of that."""

    kind: Literal["shift"] = "shift"
    pixels: int = Field(default=1, gt=0)
    """Furthest in each direction."""
    edge: Literal["black", "mirror"] = "black"
    """What comes in: nothing, or the picture mirrored at its edge (of masks nothing either way)."""

    def move(self, image: Tensor, draws: Draws) -> Move:
        height, width = image.shape[2:]
        offset = draws.integers(2 * self.pixels + 1, 2).to(image.device)                  # (B, 2): rows, columns

        def sample(image: Tensor, nearest: bool) -> Tensor:
            padded = F.pad(image, (self.pixels,) * 4, mode="reflect" if self.edge == "mirror" and not nearest else "constant")
            row = offset[:, :1] + torch.arange(height, device=image.device)               # (B, H)
            column = offset[:, 1:] + torch.arange(width, device=image.device)             # (B, W)
            example = torch.arange(len(image), device=image.device)
            picked = padded[example[:, None, None], :, row[:, :, None], column[:, None, :]]                       # (B, H, W, C)
            return picked.permute(0, 3, 1, 2).contiguous()

        one, gone = torch.ones(len(image)), self.pixels - offset
        return straight(scaling(one, one, gone[:, 1], gone[:, 0]), (height, width), sample)


class Affine(Moving):
    """Turns, scales, shears and moves a picture about its centre by small amounts, each uniform around none; bilinear."""

    kind: Literal["affine"] = "affine"
    degrees: float = Field(default=10.0, ge=0, le=180)
    """Largest turn in either direction."""
    scale: float = Field(default=0.1, ge=0, lt=1)
    """Largest change of size: 0.1 is 90 % to 110 %."""
    shear: float = Field(default=5.0, ge=0, lt=90)
    """Largest slant, in degrees."""
    shift: float = Field(default=0.0, ge=0)
    """Furthest move in each direction, in pixels."""

    def move(self, image: Tensor, draws: Draws) -> Move:
        draw = draws.uniform(5).double() * 2 - 1                                          # (B, 5) in [-1, 1)
        angle, slant = draw[:, 0] * math.radians(self.degrees), (draw[:, 1] * math.radians(self.shear)).tan()
        size = 1 + draw[:, 2] * self.scale
        cos, sin = angle.cos() / size, angle.sin() / size                                 # R⁻¹, then the slant
        return about_centre(image, cos - slant * sin, sin + slant * cos, -sin, cos, draw[:, 3] * self.shift, draw[:, 4] * self.shift)


def about_centre(image: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, down: Tensor | float = 0.0, right: Tensor | float = 0.0) -> Move:
    """The move after which what lies (x, y) from the centre was a x + b y, c x + d y from it, and everything is further down and right; each (B,) float64."""
    height, width = image.shape[2:]
    x, y = width / 2 + right, height / 2 + down
    backward = torch.stack([torch.stack([a, b, width / 2 - a * x - b * y], -1), torch.stack([c, d, height / 2 - c * x - d * y], -1)], 1)
    return moved_back(backward, (height, width))


def moved_back(backward: Tensor, size: Size) -> Move:
    """The move to a frame whose point (x, y) was at backward (B, 2, 3) · (x, y, 1); bilinear."""
    return straight(inverse(backward), size, lambda values, nearest: sampled(values, backward, size, nearest))


class Flip(Moving):
    """Mirrors a picture left to right."""

    kind: Literal["flip"] = "flip"
    probability: float = Field(default=0.5, gt=0, le=1)
    """Share of pictures changed."""
    axis: Literal["horizontal", "vertical"] = "horizontal"
    """Left to right, or top to bottom."""

    def move(self, image: Tensor, draws: Draws) -> Move:
        height, width = image.shape[2:]
        chosen = (draws.uniform() < self.probability).to(image.device)
        sign, none = torch.where(chosen, -1.0, 1.0), torch.zeros(len(image))
        if self.axis == "vertical":
            forward = scaling(none + 1, sign, none, height * chosen)
        else:
            forward = scaling(sign, none + 1, width * chosen, none)
        dim = 3 if self.axis == "horizontal" else 2
        return straight(forward, (height, width), lambda values, nearest: choose(chosen, values.flip(dim), values))


class ResizedCrop(Moving):
    """Shows a part of a picture, of random area, shape and place, in full size (Szegedy et al. 2014, arXiv:1409.4842); bilinear."""

    kind: Literal["resized_crop"] = "resized_crop"
    smallest: float = Field(default=0.35, gt=0, le=1)
    """Least part of the picture's area."""
    largest: float = Field(default=1.0, gt=0, le=1)
    """Greatest part of the picture's area."""
    stretch: float = Field(default=4 / 3, ge=1)
    """How many times wider than high the part may be, or higher than wide."""
    size: tuple[int, int] | None = None
    """Height and width it is shown in; none: those of the picture. What is smaller than the part is not smoothed: keep data.source.size near it."""

    @model_validator(mode="after")
    def ordered(self) -> ResizedCrop:
        if self.smallest > self.largest:
            raise ValueError(f"smallest is {self.smallest:g}, more than largest, {self.largest:g}")
        return self

    def move(self, image: Tensor, draws: Draws) -> Move:
        height, width = image.shape[2:]
        size = self.size or (height, width)
        share, shape, top, left = draws.uniform(4).double().unbind(1)
        share = self.smallest + share * (self.largest - self.smallest)
        ratio = ((shape * 2 - 1) * math.log(self.stretch)).exp()
        tall, wide = (share / ratio).sqrt().clamp(max=1) * height, (share * ratio).sqrt().clamp(max=1) * width
        return moved_back(scaling(wide / size[1], tall / size[0], left * (width - wide), top * (height - tall)), size)
