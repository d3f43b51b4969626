"""Changes of the values of pixels: light and colour, and rectangles blanked."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ftheta.core.random import Draws
from ftheta.data.augment.augmentation import Pixels, choose

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue weigh in grey (ITU-R 601-2)."""


class Colour(Pixels):
    """Changes brightness, contrast, saturation and hue, in this order, each by an amount uniform around none."""

    kind: Literal["colour"] = "colour"
    brightness: float = Field(default=0.4, ge=0, le=1)
    """Largest change: 0.4 is 60 % to 140 %."""
    contrast: float = Field(default=0.4, ge=0, le=1)
    """Largest change of the distance to the picture's mean grey."""
    saturation: float = Field(default=0.4, ge=0, le=1)
    """Largest change of the distance to the pixel's own grey; of grey pictures nothing."""
    hue: float = Field(default=0.1, ge=0, le=0.5)
    """Largest turn of the circle of colours, 0.5 being half of it; of grey pictures nothing."""
    probability: float = Field(default=0.8, gt=0, le=1)
    """Share of pictures changed."""

    def change(self, image: Tensor, draws: Draws) -> Tensor:
        draw = draws.uniform(5).to(image.device)
        light, contrast, saturation, hue = ((draw[:, :4] * 2 - 1)[:, :, None, None, None]).unbind(1)               # each (B, 1, 1, 1)
        changed = brightened(image, 1 + light * self.brightness)
        changed = contrasted(changed, 1 + contrast * self.contrast)
        changed = saturated(changed, 1 + saturation * self.saturation)
        return choose(draw[:, 4] < self.probability, turned(changed, hue * self.hue) if self.hue else changed, image)


def grey(image: Tensor) -> Tensor:
    """(B, 1, H, W) of pictures with 3 channels; others are as they are."""
    if image.shape[1] != 3:
        return image
    red, green, blue = image.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def brightened(image: Tensor, factor: Tensor) -> Tensor:
    return (image * factor).clamp_(0, 1)


def contrasted(image: Tensor, factor: Tensor) -> Tensor:
    middle = grey(image).double().flatten(1).mean(1)[:, None, None, None].to(image)
    return (image - middle).mul_(factor).add_(middle).clamp_(0, 1)


def saturated(image: Tensor, factor: Tensor) -> Tensor:
    own = grey(image)
    return (image - own).mul_(factor).add_(own).clamp_(0, 1) if image.shape[1] == 3 else image


def turned(image: Tensor, turn: Tensor) -> Tensor:
    """The hue turned by a share (B, 1, 1, 1) of the circle of colours: value and chroma stay, as in HSV."""
    if image.shape[1] != 3:
        return image
    red, green, blue = image.unbind(1)
    value, low = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    chroma = value - low
    safe = chroma.clamp(min=1e-12)                                                        # without chroma the differences are 0 too
    hue = torch.where(value == red, (green - blue) / safe, torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4))
    hue += 6 * turn[:, 0]                                                                 # -4 to 8
    channels = []
    for n in (5, 3, 1):
        offset = (hue + n).remainder_(6)
        channels.append(value - torch.minimum(offset, 4 - offset).clamp_(0, 1).mul_(chroma))
    return torch.stack(channels, 1)


class Erase(Pixels):
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
        inside = rectangle(height, width, (area * ratio).sqrt(), (area / ratio).sqrt(), top, left)
        return image.masked_fill((inside & (chosen < self.probability))[:, None], 0.0)


def rectangle(height: int, width: int, tall: Tensor, wide: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """(B, H, W): the pixels of a rectangle, its sides brought to whole pixels, at a place given as a share (B, 1, 1) of all there are."""
    tall, wide = tall.clamp(max=height).round(), wide.clamp(max=width).round()
    top, left = (top * (height - tall + 1)).floor(), (left * (width - wide + 1)).floor()
    row, column = torch.arange(height, device=tall.device)[:, None], torch.arange(width, device=tall.device)
    return (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
