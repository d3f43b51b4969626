"""How a transformer over a picture knows where a patch lies: a learned vector a patch, stretched over other sizes (Dosovitskiy et al. 2020,
arXiv:2010.11929), sines of row and column (Beyer et al. 2022, arXiv:2205.01580), rotary angles of both (Heo et al. 2024, arXiv:2403.13298), or not at all.

Tokens that are no patches stand first; the patches follow row by row, as many rows and columns as `context.grid` says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks.context import Context


class PatchPositions(nn.Module, ABC):
    """Built for a width, the rows and columns of patches that are usual, the number of tokens before them and, if all heads have one, their width."""

    @abstractmethod
    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        """hidden (B, T, D) → (B, T, D); may set `context.rotary`."""


class NoPatchPositions(PatchPositions):
    """Nothing is said of places: only what is there counts, not where."""

    def __init__(self, dim: int, grid: tuple[int, int], first: int, head_dim: int | None):
        super().__init__()

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        return hidden


class LearnedPatches(PatchPositions):
    """hidden + table[token]; for another number of rows or columns the patches' part of the table is resized (bicubic)."""

    def __init__(self, dim: int, grid: tuple[int, int], first: int, head_dim: int | None):
        super().__init__()
        self.grid, self.first = grid, first
        self.weight = nn.Parameter(torch.zeros(1, first + grid[0] * grid[1], dim))

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        assert context.grid is not None
        table = self.weight
        if context.grid != self.grid:
            first, patches = table[:, : self.first], table[:, self.first :].unflatten(1, self.grid).permute(0, 3, 1, 2)
            patches = F.interpolate(patches, context.grid, mode="bicubic", align_corners=False)
            table = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)
        return hidden + table.to(hidden.dtype)


class SinCosPatches(PatchPositions):
    """hidden + [sin(x s), cos(x s), sin(y s), cos(y s)] for the patch in column x and row y, with speeds s = base^(-4i/D), i < D/4; 0 for other tokens."""

    def __init__(
        self, dim: int, grid: tuple[int, int], first: int, head_dim: int | None, *,
        base: Annotated[float, Field(gt=1, description="The slowest of the sines turns by about 1 / base a patch.")] = 10000.0,
    ):
        super().__init__()
        if dim % 4:
            raise ValueError(f"sincos positions need a width that is a multiple of 4, got {dim}")
        self.dim, self.first, self.base = dim, first, base

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        y, x = places(context, hidden.device)
        speeds = self.base ** (-torch.arange(self.dim // 4, device=hidden.device, dtype=torch.float64) * 4 / self.dim)
        waves = [wave for place in (x, y) for wave in ((place[:, None] * speeds).sin(), (place[:, None] * speeds).cos())]
        return hidden + F.pad(torch.cat(waves, dim=1), (0, 0, self.first, 0)).to(hidden.dtype)


class RotaryPatches(PatchPositions):
    """Rotates pairs (i, i + head_dim/2) of queries and keys: the first half of the pairs by row · base^(-4i/head_dim), the second half by column; other tokens
    are not turned.
    """

    def __init__(
        self, dim: int, grid: tuple[int, int], first: int, head_dim: int | None, *,
        base: Annotated[float, Field(gt=1, description="The slowest pairs turn by about 1 / base a patch.")] = 100.0,
    ):
        super().__init__()
        if head_dim is None or head_dim % 4:
            raise ValueError(f"rotary positions of patches turn quarters of an attention head's dimensions: the head dimension must be a multiple of 4, not {head_dim}")
        self.head_dim, self.first, self.base = head_dim, first, base

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        speeds = self.base ** (-torch.arange(self.head_dim // 4, device=hidden.device, dtype=exact) * 4 / self.head_dim)
        angles = torch.cat([place[:, None].to(exact) * speeds for place in places(context, hidden.device)], dim=1)
        angles = F.pad(torch.cat([angles, angles], dim=1), (0, 0, self.first, 0))[None, None]           # (1, 1, T, head_dim)
        context.rotary = (angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype))
        return hidden


def places(context: Context, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row (N,) and column (N,) of every patch."""
    assert context.grid is not None
    rows, columns = context.grid
    number = torch.arange(rows * columns, device=device)
    return number // columns, number % columns
