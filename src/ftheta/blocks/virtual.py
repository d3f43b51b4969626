"""Tokens that no tokenizer knows: learned vectors before every document, or learned keys and values that every token may look at.

Soft prompt (Lester et al. 2021, arXiv:2104.08691): P vectors stand before the embedded tokens of a document and are read as if they were
some. Prefix (Li & Liang 2021, arXiv:2101.00190): P keys and values in every layer's attention; while they are learned they may come from
smaller vectors through a map of two layers, (k, v) = W₂ tanh(W₁ e + b₁) + b₂.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ftheta.blocks.documents import document_starts
from ftheta.blocks.linear import Linear
from ftheta.core.contract import PADDING

KeysAndValues = tuple[Tensor, Tensor]
"""Of one layer: (H, P, head_dim) each."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of rows (B, T) stand once P vectors are put before each of their documents: rows (B, S)."""

    place: Tensor
    """(B, T) new place of each token."""
    virtual: Tensor
    """(B, S) which of the vectors stands here; -1: none."""

    def spread(self, values: Tensor | None, filling: int) -> Tensor | None:
        """(B, T) → (B, S)."""
        return None if values is None else torch.full_like(self.virtual, filling, dtype=values.dtype).scatter(1, self.place, values)

    def spread_documents(self, documents: Tensor | None) -> Tensor | None:
        """(B, T) → (B, S): vectors belong to the document that follows them."""
        if documents is None:
            return None
        known = self.spread(documents, PADDING)
        assert known is not None
        here = torch.arange(self.virtual.shape[1], device=known.device).expand_as(known)
        follows = here + int(self.virtual.max()) + 1 - self.virtual                       # of a vector, the first token after the vectors
        return known.gather(1, torch.where(self.virtual >= 0, follows, here))

    def fill(self, hidden: Tensor, vectors: Tensor) -> Tensor:
        """Embedded rows (B, S, D) with the vectors (P, D) where they belong."""
        return torch.where((self.virtual >= 0)[..., None], vectors[self.virtual.clamp_min(0)].to(hidden.dtype), hidden)

    def tokens(self, hidden: Tensor) -> Tensor:
        """(B, S, D) → (B, T, D): what belongs to the tokens."""
        return hidden.gather(1, self.place[..., None].expand(-1, -1, hidden.shape[-1]))


class SoftPrompt(nn.Module):
    """P vectors (P, D) before every document."""

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count, dim))

    @property
    def count(self) -> int:
        return len(self.weight)

    def layout(self, tokens: Tensor, documents: Tensor | None) -> Layout:
        """Of rows (B, T): every run of one document number but that of padding begins with the vectors."""
        rows, length = tokens.shape
        numbers = torch.zeros_like(tokens) if documents is None else documents
        begins = document_starts(numbers) & (numbers != PADDING)
        place = torch.arange(length, device=tokens.device) + self.count * begins.cumsum(1)
        width = length + self.count * int(begins.sum(1).max())
        virtual = torch.full((rows, width), -1, device=tokens.device)
        row, first = begins.nonzero(as_tuple=True)
        which = torch.arange(self.count, device=tokens.device)
        virtual[row[:, None], place[row, first][:, None] - self.count + which] = which
        return Layout(place, virtual)


class Prefix(nn.Module):
    """P keys and values for every layer, kept as (P, layers · 2 · width): first a layer's keys, then its values."""

    def __init__(self, count: int, layers: int, heads: int, head_dim: int, hidden: int | None = None):
        super().__init__()
        self.count, self.layers, self.heads, self.head_dim = count, layers, heads, head_dim
        width = heads * head_dim
        self.weight = nn.Parameter(torch.zeros(count, 2 * layers * width if hidden is None else width))
        self.inner = None if hidden is None else Linear(width, hidden)
        self.outer = None if hidden is None else Linear(hidden, 2 * layers * width)

    def table(self) -> Tensor:
        """All keys and values (P, layers · 2 · width)."""
        return self.weight if self.inner is None or self.outer is None else self.outer(torch.tanh(self.inner(self.weight)))

    def forward(self) -> list[KeysAndValues]:
        """Those of every layer."""
        parts = self.table().view(self.count, self.layers, 2, self.heads, self.head_dim).permute(1, 2, 3, 0, 4)
        return [(keys, values) for keys, values in parts]
