"""Rotary positions beyond the length a model was trained at: what a pair of dimensions turns by, a token, is made slower.

With θ_i = base^(-2i/d) the speed of pair i of a head of width d, L the trained length and s the factor, every class says what the speed
becomes. The numbers are those of the ecosystem's `ROPE_INIT_FUNCTIONS`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ftheta.blocks.context import Context

Factor = Annotated[float, Field(ge=1, description="How many times longer sequences become.")]
Original = Annotated[int | None, Field(gt=0, description="Length the model was trained at, in tokens; none: its context.")]


class RotaryScaling(ABC):
    """Changed speeds of rotary positions."""

    attention: float = 1.0
    """What cosines and sines are multiplied by; scores of queries and keys change by its square."""

    def __init__(self, base: float, head_dim: int, context: int):
        self.base = base
        self.head_dim = head_dim
        self.original = context

    @abstractmethod
    def speeds(self, steps: Tensor, context: Context) -> Tensor:
        """steps (d/2,) are 2i/d. The speeds (d/2,), or (B or 1, 1, T, d/2) where they depend on the document a token stands in."""


class Linear(RotaryScaling):
    """θ_i / s: positions are squeezed together (Chen et al. 2023, arXiv:2306.15595)."""

    def __init__(self, base: float, head_dim: int, context: int, *, factor: Factor):
        super().__init__(base, head_dim, context)
        self.factor = factor

    def speeds(self, steps: Tensor, context: Context) -> Tensor:
        return 1.0 / self.base**steps / self.factor


class Dynamic(RotaryScaling):
    """base' = base · (s·n/L - (s - 1))^(d/(d-2)) for a document of n > L tokens so far: fast pairs stay, slow ones slow down ("dynamic NTK",
    in arXiv:2309.00071, section 3.3).

    n is the length of the token's own document, not of the longest in the batch, so that a row does not depend on its neighbours.
    """

    def __init__(self, base: float, head_dim: int, context: int, *, factor: Factor, original: Original = None):
        super().__init__(base, head_dim, context)
        if head_dim < 4:
            raise ValueError(f"dynamic rotary scaling needs a head dimension of 4 or more, not {head_dim}")
        self.factor = factor
        self.original = original or context

    def speeds(self, steps: Tensor, context: Context) -> Tensor:
        length = ends(context.positions) + 1
        if not torch.compiler.is_exporting() and not bool((length > self.original).any()):      # in a program the same by a clamp
            return 1.0 / self.base**steps
        stretch = self.factor * length.clamp(min=self.original).to(steps.dtype) / self.original - (self.factor - 1)
        base = self.base * stretch ** (self.head_dim / (self.head_dim - 2))
        return 1.0 / base[:, None, :, None] ** steps


class Yarn(RotaryScaling):
    """γ_i θ_i + (1 - γ_i) θ_i / s, where γ_i falls from 1 for pairs that turn `fast` times within L tokens to 0 for those that turn `slow`
    times; cosines and sines are multiplied by 0.1 ln s + 1 (Peng et al. 2023, arXiv:2309.00071).
    """

    def __init__(
        self, base: float, head_dim: int, context: int, *, factor: Factor, original: Original = None,
        fast: Annotated[float, Field(gt=0, description="Pairs that turn this often within the trained length, or more, keep their speed.")] = 32.0,
        slow: Annotated[float, Field(gt=0, description="Pairs that turn this often, or less, become slower by the whole factor.")] = 1.0,
        attention: Annotated[float | None, Field(gt=0, description="What cosines and sines are multiplied by; none: 0.1 ln(factor) + 1.")] = None,
        truncate: Annotated[bool, Field(description="Whether the pairs between fast and slow are counted from whole to whole pair.")] = True,
    ):
        super().__init__(base, head_dim, context)
        if fast <= slow:
            raise ValueError(f"yarn: fast {fast:g} must be more than slow {slow:g}")
        self.factor = factor
        self.original = original or context
        self.attention = (0.1 * math.log(factor) + 1.0) if attention is None else attention
        low, high = self.pair(fast), self.pair(slow)
        if truncate:
            low, high = math.floor(low), math.ceil(high)
        self.low, self.high = max(low, 0), min(high, head_dim - 1)

    def pair(self, turns: float) -> float:
        """The pair, counted in fractions, that turns so often within the trained length."""
        return self.head_dim * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(self.base))

    def speeds(self, steps: Tensor, context: Context) -> Tensor:
        high = self.high if self.high != self.low else self.high + 0.001                  # no division by zero
        slower = ((torch.arange(len(steps), dtype=steps.dtype, device=steps.device) - self.low) / (high - self.low)).clamp(0, 1)
        kept = 1 - slower
        turning = self.base**steps
        return 1.0 / (self.factor * turning) * (1 - kept) + 1.0 / turning * kept


class Llama3(RotaryScaling):
    """θ_i for wavelengths 2π/θ_i below L/`high`, θ_i / s for those above L/`low`, and between them a mixture that is linear in L over
    wavelength (Llama 3.1, arXiv:2407.21783; its reference code gives the formula).
    """

    def __init__(
        self, base: float, head_dim: int, context: int, *, factor: Factor = 8.0, original: Original = None,
        low: Annotated[float, Field(gt=0, description="Pairs that turn less often within the trained length become slower by the whole factor.")] = 1.0,
        high: Annotated[float, Field(gt=0, description="Pairs that turn more often within the trained length keep their speed.")] = 4.0,
    ):
        super().__init__(base, head_dim, context)
        if high <= low:
            raise ValueError(f"llama3: high {high:g} must be more than low {low:g}")
        self.factor = factor
        self.original = original or context
        self.low = low
        self.high = high

    def speeds(self, steps: Tensor, context: Context) -> Tensor:
        plain = 1.0 / self.base**steps
        wavelength = 2 * math.pi / plain
        share = (self.original / wavelength - self.low) / (self.high - self.low)
        between = (1 - share) * plain / self.factor + share * plain
        slower = torch.where(wavelength > self.original / self.low, plain / self.factor, plain)
        return torch.where((wavelength >= self.original / self.high) & (wavelength <= self.original / self.low), between, slower)


def ends(positions: Tensor) -> Tensor:
    """(B, T) the last position of the document each token stands in, as far as it is known; positions start again at every border."""
    before = torch.nn.functional.pad(positions, (1, 0), value=-1)[:, : positions.shape[1]]
    document = (positions <= before).long().cumsum(dim=1)
    return torch.zeros_like(positions).scatter_reduce(1, document, positions, "amax").gather(1, document)
