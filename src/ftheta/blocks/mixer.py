"""The contract of a mixer: the part of a layer in which tokens exchange information."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ftheta.blocks.context import Context, Informed


class Mixer(Informed):
    """(B, T, D) → (B, T, D), tokens of one document only; remembers the past in `context.cache` when there is one."""

    heads: int | None = None
    """How many attention heads, for mixers that have heads."""
    causal: bool = True
    """Whether a token sees only itself and earlier ones."""
    head_dim: int | None = None
    """Width of one attention head, for mixers that have heads."""
    value_dim: int | None = None
    """Width of the values a token offers, for mixers that have them; `context.values` is added to them."""

    def prepare(self, length: int, dtype: torch.dtype, context: Context) -> None:
        """Work out, once for all layers, what depends on the context alone; outside of what is compiled."""
        return

    @abstractmethod
    def forward(self, x: Tensor, context: Context) -> Tensor: ...
