"""How a sequence model knows where a token stands: learned vectors, sines (Vaswani et al. 2017, arXiv:1706.03762), rotary angles (Su et al. 2021,
arXiv:2104.09864), a number added to attention scores for every distance (Raffel et al. 2019, arXiv:1910.10683), or not at all.
"""

from __future__ import annotations

import math
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
    """Told where each token stands, changes the embedded tokens or fills in the context.

    Built for a width, a longest sequence, and the mixer's heads: their width, their number, and whether they look back only.
    """

    longest: int | None = None
    """The longest sequence these positions can describe, when there is one."""

    @abstractmethod
    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        """hidden (B, T, D) → (B, T, D); may set `context.rotary` or `context.relative`."""


class NoPositions(Positions):
    """The mixer itself knows the order (recurrent layers)."""

    def __init__(self, dim: int, context: int, head_dim: int | None = None, heads: int | None = None, causal: bool = True):
        super().__init__()

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        return hidden


class Learned(Positions):
    """hidden + table[position + offset]."""

    def __init__(
        self, dim: int, context: int, head_dim: int | None = None, heads: int | None = None, causal: bool = True, *,
        offset: Annotated[int, Field(ge=0, description="Rows of the table before that of the first token (RoBERTa leaves 2).")] = 0,
    ):
        super().__init__()
        self.longest = context
        self.offset = offset
        self.weight = nn.Parameter(torch.zeros(context + offset, dim))

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        return hidden + self.weight[context.positions + self.offset if self.offset else context.positions].to(hidden.dtype)


class Sinusoidal(Positions):
    """hidden + [sin(p / 10000^(2i/D)) for i < D/2, cos(p / 10000^(2i/D)) for i < D/2] for position p: all sines first, as MarianMT has them."""

    def __init__(self, dim: int, context: int, head_dim: int | None = None, heads: int | None = None, causal: bool = True):
        super().__init__()
        self.dim = dim

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        steps = torch.arange(0, self.dim, 2, device=hidden.device, dtype=torch.float64) / self.dim
        angles = context.positions[..., None] / 10000.0**steps                            # (1 or B, T, D/2)
        return hidden + torch.cat([angles.sin(), angles[..., : self.dim // 2].cos()], dim=-1).to(hidden.dtype)


class Relative(Positions):
    """score(q, k) + weight[bucket(k - q), head] in every layer: near distances have a bucket each, far ones share buckets that grow with the logarithm
    (T5). Where tokens look both ways, half of the buckets are for what comes after.
    """

    def __init__(
        self, dim: int, context: int, head_dim: int | None = None, heads: int | None = None, causal: bool = True, *,
        buckets: Annotated[int, Field(ge=4, multiple_of=4, description="How many distances are told apart.")] = 32,
        distance: Annotated[int, Field(gt=1, description="Distances from this one on are all the same.")] = 128,
    ):
        super().__init__()
        if heads is None:
            raise ValueError("relative positions are added to the scores of attention heads, and this mixer has none; choose mixer attention")
        self.causal = causal
        self.exact = buckets // 2 if causal else buckets // 4
        if distance <= self.exact:
            raise ValueError(f"relative positions: distance {distance} must be more than the {self.exact} distances that have a bucket each")
        self.distance = distance
        self.weight = nn.Parameter(torch.zeros(buckets, heads))

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        context.relative = self.scores
        return hidden

    def scores(self, distances: Tensor) -> Tensor:
        """What is added to scores (H, N) for distances (N,) from query to key."""
        return self.weight[self.bucket(distances)].t()

    def bucket(self, distances: Tensor) -> Tensor:
        """The bucket (N,) of each distance; negative ones look back."""
        back = -distances if self.causal else distances.abs()
        back = back.clamp(min=0)
        # in float32 step by step as T5 does, so that no distance falls into the neighbouring bucket
        far = torch.log(back.clamp(min=1).float() / self.exact) / math.log(self.distance / self.exact) * self.exact
        found = torch.where(back < self.exact, back, self.exact + far.long().clamp(max=self.exact - 1))
        return found if self.causal else found + (distances > 0) * 2 * self.exact


class Rotary(Positions):
    """Rotates pairs (i, i + head_dim/2) of queries and keys by position · base^(-2i/head_dim), or as `scaling` changes these speeds."""

    def __init__(
        self, dim: int, context: int, head_dim: int | None = None, heads: int | None = None, causal: bool = True, *,
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
