"""Changes that bend pictures: every pixel moves by an amount of its own, and neighbours by nearly the same."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.core.boxes import area
from ftheta.core.random import Draws
from ftheta.data.augment.augmentation import LEAST, Move, Moving, looked_up, middles


class Elastic(Moving):
    """Bends a picture as if it were of rubber: the points of a coarse grid move at random, and what lies between them follows smoothly (bicubic), as U-Nets of
    few pictures are trained (Simard, Steinkraus and Platt 2003; Ronneberger, Fischer and Brox 2015, arXiv:1505.04597); bilinear.

    With N(0, amount²) at every point of the grid, in both directions, and d what is between them, (x, y) shows what was at (x + d_x W, y + d_y H).
    """

    kind: Literal["elastic"] = "elastic"
    amount: float = Field(default=0.02, gt=0, lt=0.5)
    """How far the points of the grid move, as a share of the sides: the standard deviation (0.02 of 512 pixels are the 10 of U-Net)."""
    grid: int = Field(default=3, ge=2)
    """Points of the grid across and down; the outermost lie on the edge."""

    def move(self, image: Tensor, draws: Draws) -> Move:
        height, width = image.shape[2:]
        points = self.amount * draws.normal(2, self.grid, self.grid).double()
        away = F.interpolate(points, (height, width), mode="bicubic", align_corners=True)                         # (B, 2, H, W)
        down, right = middles((height, width))
        x, y = right + away[:, 0] * width, down + away[:, 1] * height
        grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], -1)

        def forward(boxes: Tensor) -> Tensor:
            return torch.stack([around(one, left, upper) for one, left, upper in zip(boxes, x, y, strict=True)])

        return Move(forward, (height, width), lambda values, nearest: looked_up(values, grid.to(values), nearest))


def around(boxes: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The boxes (N, 4) around all pixels of a frame that show something of these boxes (N, 4), where pixels show what was at x and y (H, W); 0 where hardly any do."""
    left, upper, right, lower = (side[:, None, None] for side in boxes.double().unbind(-1))
    shows = (x > left) & (x < right) & (y > upper) & (y < lower)                          # (N, H, W)
    edges = [edge for line in (shows.any(1), shows.any(2)) for edge in ends(line)]        # left, right, upper, lower
    found = torch.stack([edges[0], edges[2], edges[1], edges[3]], -1).to(boxes)
    return found * (shows.sum((1, 2)) > LEAST * area(boxes))[:, None]


def ends(line: Tensor) -> tuple[Tensor, Tensor]:
    """Where the first of the True of (N, L) begins and the last ends (N,)."""
    numbers = line.to(torch.int8)
    return numbers.argmax(1), line.shape[1] - numbers.flip(1).argmax(1)
