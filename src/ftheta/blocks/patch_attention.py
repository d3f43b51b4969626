"""Attention among the patches of a picture: everything looks at everything (Dosovitskiy et al. 2020, arXiv:2010.11929), or within windows (Liu et al. 2021,
arXiv:2103.14030): a patch at the patches of its own window, and at the tokens that are no patches; those at everything. The cost of windows grows with
the number of patches, not with its square.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.blocks.attend import attend
from ftheta.blocks.attention import Attention, Bias, HeadDim, Heads, KeyHeads, MultiHead, OutputBias, QKNorm, Scale
from ftheta.blocks.context import Context, hidden_from
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.position import rotate


class PatchAttention(Attention):
    """Attention that looks both ways: the patches of a picture have no order."""

    def __init__(
        self, dim: int, *, heads: Heads = 8, kv_heads: KeyHeads = None, head_dim: HeadDim = None, scale: Scale = None, bias: Bias = False,
        output_bias: OutputBias = None, qk_norm: QKNorm = None,
    ):
        super().__init__(
            dim, heads=heads, kv_heads=kv_heads, head_dim=head_dim, causal=False, scale=scale, bias=bias, output_bias=output_bias, qk_norm=qk_norm,
        )

    @staticmethod
    def traits(arguments: Mapping[str, Any]) -> set[str]:
        return set()


class Windowed(MultiHead, Mixer):
    """(B, T, D) → (B, T, D), the last tokens being the patches of `context.grid`. Windows that a border cuts are smaller; `shift` moves all borders, so that
    layers with and without it pass on what is seen from window to window.
    """

    heads: int
    head_dim: int
    causal = False

    def __init__(
        self, dim: int, *, heads: Heads = 8, size: Annotated[int, Field(gt=0, description="Rows and columns of patches in a window.")] = 7,
        shift: Annotated[int, Field(ge=0, description="Rows and columns that the first windows lack (Swin: half of them, in every other layer).")] = 0,
        kv_heads: KeyHeads = None, head_dim: HeadDim = None, scale: Scale = None, bias: Bias = False, output_bias: OutputBias = None, qk_norm: QKNorm = None,
    ):
        super().__init__(dim, heads, kv_heads, head_dim, scale, bias, output_bias, qk_norm)
        if shift >= size:
            raise ValueError(f"shift {shift} must be less than size {size}")
        self.size, self.shift = size, shift

    def forward(self, x: Tensor, context: Context) -> Tensor:
        assert context.grid is not None
        q = self.queries(x)
        k, v = self.keys(x)
        if context.rotary is not None:
            q, k = rotate(q, context.rotary), rotate(k, context.rotary)
        k, v = self.shared(k, v)
        numbers = windows(context.grid, self.size, self.shift)                            # (windows, size²), -1 beyond a border
        index = torch.tensor(numbers, device=x.device)
        first = x.shape[1] - context.grid[0] * context.grid[1]
        allowed = F.pad(index >= 0, (first, 0), value=True)
        bias = None if (numbers >= 0).all() else hidden_from(allowed, x.dtype).repeat(x.shape[0], 1)[:, None, None, :]

        def within(part: Tensor) -> Tensor:
            """(B, H, T, d) → (B · windows, H, size², d)."""
            return part[:, :, first + index.clamp(min=0)].transpose(1, 2).flatten(0, 1)

        def seen(part: Tensor) -> Tensor:
            return torch.cat([part[:, :, :first].repeat_interleave(len(index), dim=0), within(part)], dim=2) if first else within(part)

        y = attend(within(q), seen(k), seen(v), bias, self.scale).unflatten(0, (x.shape[0], -1)).transpose(1, 2)           # (B, H, windows, size², d)
        order = numbers.ravel().argsort(kind="stable")[(numbers < 0).sum() :]
        y = y.flatten(2, 3)[:, :, torch.tensor(order, device=x.device)]                   # row by row again, without what lies beyond a border
        if first:
            y = torch.cat([attend(q[:, :, :first], k, v, None, self.scale), y], dim=2)
        return self.merged(y)


    def weights(self, x: Tensor, context: Context, bias: Tensor | None = None) -> Tensor:
        assert context.grid is not None
        index = torch.tensor(windows(context.grid, self.size, self.shift))
        patches = context.grid[0] * context.grid[1]
        number = torch.zeros(patches + 1, dtype=torch.int64)                              # -1 is the last: what windows lack
        number[index] = torch.arange(len(index))[:, None]
        allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
        allowed[-patches:, -patches:] = (number[:-1, None] == number[:-1]).to(x.device)
        return super().weights(x, context, hidden_from(allowed, x.dtype))


@functools.cache
def windows(grid: tuple[int, int], size: int, shift: int) -> np.ndarray:
    """(windows, size²): the numbers of the patches of every window, -1 where it reaches beyond the border."""
    rows, columns = grid
    down, across = (-(-(side + shift) // size) for side in grid)
    padded = np.full((down * size, across * size), -1)
    padded[shift : shift + rows, shift : shift + columns] = np.arange(rows * columns).reshape(rows, columns)
    found = padded.reshape(down, size, across, size).transpose(0, 2, 1, 3).reshape(-1, size * size)
    return found[(found >= 0).any(1)]
