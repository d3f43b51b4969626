"""How a sequence model knows where a token stands: learned vectors, rotary angles (Su et al. 2021, arXiv:2104.09864), or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ftheta.blocks import ROTARY_SCALINGS
from ftheta.blocks.context import Context
from ftheta.blocks.rotary_scaling import RotaryScaling
from ftheta.core.config import Part, Slot


class Positions(nn.Module, ABC):
    """Told where each token stands, changes the embedded tokens or fills in the context."""

    longest: int | None = None
    """The longest sequence these positions can describe, when there is one."""

    @abstractmethod
    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        """hidden (B, T, D) → (B, T, D); may set `context.rotary`."""


class NoPositions(Positions):
    """The mixer itself knows the order (recurrent layers)."""

    def __init__(self, dim: int, context: int, head_dim: int | None):
        super().__init__()

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        return hidden


class Learned(Positions):
    """hidden + table[position + offset]."""

    def __init__(
        self, dim: int, context: int, head_dim: int | None, *,
        offset: Annotated[int, Field(ge=0, description="Rows of the table before that of the first token (RoBERTa leaves 2).")] = 0,
    ):
        super().__init__()
        self.longest = context
        self.offset = offset
        self.weight = nn.Parameter(torch.zeros(context + offset, dim))

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        return hidden + self.weight[context.positions + self.offset if self.offset else context.positions].to(hidden.dtype)


class Rotary(Positions):
    """Rotates pairs (i, i + head_dim/2) of queries and keys by position · base^(-2i/head_dim), or as `scaling` changes these speeds."""

    def __init__(
        self, dim: int, context: int, head_dim: int | None, *,
        base: Annotated[float, Field(gt=1, description="The slowest pair turns by about 1 / base a token.")] = 10000.0,
        scaling: Annotated[Annotated[Part, Slot(ROTARY_SCALINGS)] | None, Field(description="How speeds are changed for longer sequences.")] = None,
    ):
        super().__init__()
        if head_dim is None or head_dim % 2:
            raise ValueError(f"rotary positions turn pairs of an attention head's dimensions: the head dimension must be even, not {head_dim}")
        self.head_dim = head_dim
        self.base = base
        self.scaling: RotaryScaling | None = scaling.build(base=base, head_dim=head_dim, context=context) if scaling else None

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        steps = torch.arange(0, self.head_dim, 2, device=hidden.device, dtype=torch.int64).to(exact) / self.head_dim
        speeds = 1.0 / self.base**steps if self.scaling is None else self.scaling.speeds(steps, context)
        angles = context.positions[:, None, :, None].to(exact) * speeds
        angles = torch.cat([angles, angles], dim=-1)
        cosine, sine = angles.cos(), angles.sin()
        if self.scaling is not None and self.scaling.attention != 1.0:
            cosine, sine = cosine * self.scaling.attention, sine * self.scaling.attention
        context.rotary = (cosine.to(hidden.dtype), sine.to(hidden.dtype))
        return hidden


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """x (B, H, T, head_dim) turned by the angles of `rotary` (rotate-half convention of the ecosystem)."""
    cosine, sine = rotary
    a, b = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-b, a], dim=-1) * sine
