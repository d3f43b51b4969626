"""Random changes to pictures that leave their meaning alone: made anew every time a picture is seen, for a whole batch at once.

Every number drawn belongs to a row (see `Draws`), and every pixel is computed from its own row by itself, so a row looks the same
in any micro-batch and after a resumed run, bit for bit. Pictures are (B, C, H, W) with values in [0, 1]; what comes in from
outside the frame is 0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.core.catalog import Catalogue
from ftheta.core.config import Config
from ftheta.core.contract import Batch
from ftheta.core.random import Draws

AUGMENTATIONS = Catalogue(
    "augmentation",
    {
        "affine": "ftheta.data.augment:Affine",
        "erase": "ftheta.data.augment:Erase",
        "flip": "ftheta.data.augment:Flip",
        "shift": "ftheta.data.augment:Shift",
    },
)


class Augmentation(Config, ABC):
    """One kind of change; `kind` is its name in the catalogue."""

    @abstractmethod
    def change(self, image: Tensor, draws: Draws) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        """The batch with its `image` changed."""
        return {**batch, "image": self.change(batch["image"], draws)}


class Shift(Augmentation):
    """Moves a picture by whole pixels."""

    kind: Literal["shift"] = "shift"
    pixels: int = Field(default=1, gt=0)
    """Furthest in each direction."""

    def change(self, image: Tensor, draws: Draws) -> Tensor:
        height, width = image.shape[2:]
        offset = draws.integers(2 * self.pixels + 1, 2).to(image.device)                  # (B, 2): rows, columns
        padded = F.pad(image, (self.pixels,) * 4)
        row = offset[:, :1] + torch.arange(height, device=image.device)                   # (B, H)
        column = offset[:, 1:] + torch.arange(width, device=image.device)                 # (B, W)
        example = torch.arange(len(image), device=image.device)
        picked = padded[example[:, None, None], :, row[:, :, None], column[:, None, :]]   # (B, H, W, C)
        return picked.permute(0, 3, 1, 2).contiguous()


class Affine(Augmentation):
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

    def change(self, image: Tensor, draws: Draws) -> Tensor:
        height, width = image.shape[2:]
        draw = (draws.uniform(5).double() * 2 - 1)[:, :, None, None]                      # (B, 5, 1, 1) in [-1, 1)
        angle, slant = draw[:, 0] * math.radians(self.degrees), (draw[:, 1] * math.radians(self.shear)).tan()
        size = 1 + draw[:, 2] * self.scale
        cos, sin = angle.cos() / size, angle.sin() / size
        # Where each pixel (down, right of the centre) comes from: R⁻¹, then the slant. Written out instead of a matrix product,
        # whose rounding may depend on how many rows it is given, and in float64, so that it hardly matters anyway.
        down = torch.arange(height)[:, None] - (height - 1) / 2 - draw[:, 3] * self.shift                          # (B, H, 1)
        right = torch.arange(width) - (width - 1) / 2 - draw[:, 4] * self.shift                                   # (B, 1, W)
        y = cos * down - sin * right
        x = cos * right + sin * down + slant * y
        grid = torch.stack([x * (2 / width), y * (2 / height)], dim=-1).to(image)         # (B, H, W, 2)
        return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class Flip(Augmentation):
    """Mirrors a picture left to right."""

    kind: Literal["flip"] = "flip"
    probability: float = Field(default=0.5, gt=0, le=1)
    """Share of pictures changed."""

    def change(self, image: Tensor, draws: Draws) -> Tensor:
        chosen = (draws.uniform() < self.probability).to(image.device)
        return torch.where(chosen[:, None, None, None], image.flip(3), image)


class Erase(Augmentation):
    """Blanks a rectangle (Zhong et al. 2017, arXiv:1708.04896)."""

    kind: Literal["erase"] = "erase"
    probability: float = Field(default=0.5, gt=0, le=1)
    """Share of pictures changed."""
    smallest: float = Field(default=0.02, ge=0, le=1)
    """Least part of the picture's area."""
    largest: float = Field(default=0.2, gt=0, le=1)
    """Greatest part of the picture's area."""
    stretch: float = Field(default=3.0, ge=1)
    """How many times longer one side may be than the other."""

    def change(self, image: Tensor, draws: Draws) -> Tensor:
        height, width = image.shape[2:]
        chosen, area, shape, top, left = draws.uniform(5).to(image.device)[:, :, None, None].unbind(1)            # each (B, 1, 1)
        area = (self.smallest + area * (self.largest - self.smallest)) * height * width
        ratio = ((shape * 2 - 1) * math.log(self.stretch)).exp()
        tall, wide = (area * ratio).sqrt().clamp(max=height).round(), (area / ratio).sqrt().clamp(max=width).round()
        top, left = (top * (height - tall + 1)).floor(), (left * (width - wide + 1)).floor()
        row, column = torch.arange(height, device=image.device)[:, None], torch.arange(width, device=image.device)
        inside = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)                    # (B, H, W)
        return image.masked_fill((inside & (chosen < self.probability))[:, None], 0.0)
