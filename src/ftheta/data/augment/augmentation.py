"""The contract of a random change, and its two simple sorts: changes of the values of pixels, and moves, which masks and boxes make with their picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ftheta.core.config import Config
from ftheta.core.contract import PADDED, Batch
from ftheta.core.random import Draws
from ftheta.data.boxes import moved, visible, window
from ftheta.data.frame import Size
from ftheta.data.source import Mates

LEAST = 0.1
"""A box of which no more than this share is left in the picture is left out."""


class Augmentation(Config, ABC):
    """One kind of change; `kind` is its name in the catalogue."""

    reads: ClassVar[tuple[str, ...]] = ("image",)
    """What a batch must have for it."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return str(getattr(self, "kind"))  # noqa: B009

    @abstractmethod
    def __call__(self, batch: Batch, draws: Draws, mates: Mates) -> Batch:
        """The batch with its `image` (B, C, H, W) changed and, where they are, `mask` (B, H, W), `boxes` (B, N, 4) and `box_label` (B, N) with it."""


class Pixels(Augmentation, ABC):
    """Changes values and moves nothing."""

    @abstractmethod
    def change(self, image: Tensor, draws: Draws) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""

    def __call__(self, batch: Batch, draws: Draws, mates: Mates) -> Batch:
        return {**batch, "image": self.change(batch["image"], draws)}


class Move(NamedTuple):
    """Where everything in a picture goes."""

    forward: Callable[[Tensor], Tensor]
    """Boxes (B, N, 4) → the upright ones around where their things go; the edges of pixels are at whole numbers."""
    size: Size
    """Of the new frame."""
    sample: Callable[[Tensor, bool], Tensor]
    """(B, C, H, W) → (B, C, H', W'), the nearest pixel's value if so wished; 0 comes in from outside."""

    def __call__(self, batch: Batch) -> Batch:
        found = {**batch, "image": self.sample(batch["image"], False)}
        if "mask" in batch:
            classes = (batch["mask"] - PADDED).float()[:, None]                           # so that what comes in has no class
            found["mask"] = self.sample(classes, True)[:, 0].round().long() + PADDED
        if "boxes" in batch:
            boxes = self.forward(batch["boxes"])
            found |= visible(boxes, batch["box_label"], window(self.size, boxes), LEAST)
        return found


class Moving(Augmentation, ABC):
    """Moves pixels, and masks and boxes with them."""

    @abstractmethod
    def move(self, image: Tensor, draws: Draws) -> Move:
        """What is done to pictures (B, C, H, W)."""

    def __call__(self, batch: Batch, draws: Draws, mates: Mates) -> Batch:
        return self.move(batch["image"], draws)(batch)


def sampled(image: Tensor, backward: Tensor, size: Size, nearest: bool = False) -> Tensor:
    """(B, C, *size) whose point (x, y) shows what lies at backward (B, 2, 3) · (x, y, 1) in the image; bilinear.

    Written out instead of a matrix product, whose rounding may depend on how many rows it is given, and in float64, so that it hardly matters anyway.
    """
    grid = image.new_empty(len(image), *size, 2)
    down, right = middles(size)
    for i, side in enumerate((image.shape[3], image.shape[2])):                           # grid_sample counts from -1 to 1
        across, along, offset = (backward[:, i, :, None, None] * (2 / side)).unbind(1)    # each (B, 1, 1)
        grid[..., i] = across * right + (along * down + (offset - 1))
    return looked_up(image, grid, nearest)


def middles(size: Size) -> tuple[Tensor, Tensor]:
    """y (H, 1) and x (W,) of the middles of a frame's pixels, float64."""
    return torch.arange(size[0], dtype=torch.float64)[:, None] + 0.5, torch.arange(size[1], dtype=torch.float64) + 0.5


def looked_up(image: Tensor, grid: Tensor, nearest: bool) -> Tensor:
    """(B, C, H, W) that shows what lies in the image at the points of a grid (B, H, W, 2), which counts from -1 to 1; bilinear."""
    return F.grid_sample(image, grid, mode="nearest" if nearest else "bilinear", padding_mode="zeros", align_corners=False)


def scaling(scale_x: Tensor, scale_y: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(B, 2, 3): a point (x, y) times the scale plus the offset, each (B,)."""
    zero = torch.zeros_like(scale_x)
    return torch.stack([torch.stack([scale_x, zero, x], -1), torch.stack([zero, scale_y, y], -1)], 1).double()


def straight(forward: Tensor, size: Size, sample: Callable[[Tensor, bool], Tensor]) -> Move:
    """The move after which a point (x, y) is at forward (B, 2, 3) · (x, y, 1)."""
    return Move(lambda boxes: moved(boxes, forward), size, sample)


def inverse(move: Tensor) -> Tensor:
    """(B, 2, 3): the way back."""
    (a, b, x), (c, d, y) = (row.unbind(-1) for row in move.unbind(1))
    det = a * d - b * c
    rows = [torch.stack([d, -b, b * y - d * x], -1), torch.stack([-c, a, c * x - a * y], -1)]
    return torch.stack(rows, 1) / det[:, None, None]


def choose(chosen: Tensor, changed: Tensor, image: Tensor) -> Tensor:
    """The changed pictures where `chosen` (B,) says so."""
    return torch.where(chosen[:, None, None, None], changed, image)
