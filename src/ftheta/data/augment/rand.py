"""RandAugment: a few changes out of many, each as strong as the others (Cubuk et al. 2019, arXiv:1909.13719)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.core.contract import Batch
from ftheta.core.random import Draws
from ftheta.data.augment.augmentation import Augmentation, Move
from ftheta.data.augment.colour import brightened, contrasted, saturated
from ftheta.data.augment.moving import about_centre
from ftheta.data.source import Mates

LEVELS = 256


class RandAugment(Augmentation):
    """`count` changes, one after the other, each drawn from: none, turn, shear and shift (2 each), brightness, contrast, saturation, sharpness,
    posterise, solarise, stretch of contrast, equal histogram.
    """

    kind: Literal["rand"] = "rand"
    count: int = Field(default=2, gt=0)
    """How many are made to a picture."""
    strength: float = Field(default=0.3, gt=0, le=1)
    """How strong, as a share of the strongest (0.3 is the paper's 9 of 30)."""

    def __call__(self, batch: Batch, draws: Draws, mates: Mates) -> Batch:
        found = {**batch, "image": batch["image"].clone(), **{name: batch[name].clone() for name in ("mask", "boxes", "box_label") if name in batch}}
        for _ in range(self.count):
            which, sign = draws.integers(len(PIXELS) + len(MOVES) + 1), torch.where(draws.uniform() < 0.5, -1.0, 1.0)
            for number in set(which.tolist()) - {0}:
                rows = (which == number).nonzero().flatten()
                part = {name: found[name][rows] for name in ("image", "mask", "boxes", "box_label") if name in found}
                amount = sign[rows] * self.strength
                if number <= len(PIXELS):
                    found["image"][rows] = PIXELS[number - 1](part["image"], amount[:, None, None, None])
                else:
                    for name, value in MOVES[number - 1 - len(PIXELS)](part["image"], amount.double())(part).items():
                        found[name][rows] = value
        return found


def sharpened(image: Tensor, factor: Tensor) -> Tensor:
    """Away from, or towards, a smoothed picture: the mean of a pixel, five times, and the eight around it; the pixels at the edge stay."""
    around = F.pad(image, (1, 1, 1, 1))
    height, width = image.shape[2:]
    total = 4 * image
    for i in range(3):
        for j in range(3):
            total = total + around[:, :, i : i + height, j : j + width]
    smooth = image.clone()
    smooth[:, :, 1:-1, 1:-1] = total[:, :, 1:-1, 1:-1] / 13
    return (smooth + (image - smooth) * factor).clamp(0, 1)


def posterised(image: Tensor, strength: Tensor) -> Tensor:
    """Fewer bits for every value: 8 down to 4."""
    step = 2.0 ** (4 * strength.abs()).round()
    return ((image * 255).round() / step).floor() * step / 255


def solarised(image: Tensor, strength: Tensor) -> Tensor:
    """Values above 1 - strength turned round."""
    return torch.where(image >= 1 - strength.abs(), 1 - image, image)


def stretched(image: Tensor, strength: Tensor) -> Tensor:
    """Each channel from 0 to 1, unless all its values are one."""
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    return torch.where(high > low, (image - low) / (high - low).clamp(min=1e-6), image)


def equalised(image: Tensor, strength: Tensor) -> Tensor:
    """Each channel's 256 values about equally frequent, as in pillow: v → (pixels below v + step / 2) / step, step = (all but the highest value's) / 255."""
    values = (image * 255).round().long().flatten(2)                                      # (B, C, H·W)
    counts = torch.zeros(*values.shape[:2], LEVELS, dtype=torch.long).scatter_add_(2, values, torch.ones_like(values))
    top = values.amax(2, keepdim=True)
    step = (values.shape[2] - counts.gather(2, top)) // 255
    table = ((counts.cumsum(2) - counts + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, table.gather(2, values), values).view_as(image).to(image) / 255


def factor(change: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A change by a factor of 10 % to 190 % at most."""
    return lambda image, amount: change(image, 1 + 0.9 * amount)


PIXELS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    factor(brightened), factor(contrasted), factor(saturated), factor(sharpened), posterised, solarised, stretched, equalised,
)
"""Changes of values by an amount (B, 1, 1, 1) in [-1, 1]."""


def turned(image: Tensor, amount: Tensor) -> Move:
    """30° at most."""
    angle = amount * math.radians(30)
    return about_centre(image, angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def slanted(image: Tensor, amount: Tensor) -> Move:
    """0.3 at most to the side for each pixel down."""
    return about_centre(image, amount * 0 + 1, amount * 0.3, amount * 0, amount * 0 + 1)


def slanted_down(image: Tensor, amount: Tensor) -> Move:
    """0.3 at most down for each pixel to the side."""
    return about_centre(image, amount * 0 + 1, amount * 0, amount * 0.3, amount * 0 + 1)


def shifted(image: Tensor, amount: Tensor) -> Move:
    """45 % of the width at most."""
    return about_centre(image, amount * 0 + 1, amount * 0, amount * 0, amount * 0 + 1, right=amount * 0.45 * image.shape[3])


def shifted_down(image: Tensor, amount: Tensor) -> Move:
    """45 % of the height at most."""
    return about_centre(image, amount * 0 + 1, amount * 0, amount * 0, amount * 0 + 1, down=amount * 0.45 * image.shape[2])


MOVES: tuple[Callable[[Tensor, Tensor], Move], ...] = (turned, slanted, slanted_down, shifted, shifted_down)
"""Moves by an amount (B,) in [-1, 1]."""
