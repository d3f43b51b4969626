"""What a layer may know beyond its input, passed explicitly: positions, documents, recurrent state and attention caches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Cache:
    """What a model remembers of the tokens it has seen, per mixer: keys and values, or recurrent state."""

    states: dict[nn.Module, Any] = field(default_factory=dict)
    documents: Tensor | None = None
    """(B, S) document of every remembered token, when documents are used (padding is document -1)."""
    length: int = 0

    def select(self, rows: Tensor) -> None:
        """Keep only some rows of the batch."""
        self.states = {mixer: tuple(part[rows] for part in state) for mixer, state in self.states.items()}
        if self.documents is not None:
            self.documents = self.documents[rows]


@dataclass
class Context:
    """Side information of one forward pass over (B, T) tokens."""

    positions: Tensor
    """(B, T) or (1, T) position of each token within its document."""
    documents: Tensor | None = None
    """(B, T) which document a token belongs to; tokens see only their own document. None: one document a row."""
    cache: Cache | None = None
    rotary: tuple[Tensor, Tensor] | None = None
    """cosine and sine (B or 1, 1, T, head_dim) when positions are rotary."""
    values: Tensor | None = None
    """(B, T, width of the values) added to the values of the layer about to run."""
    biases: dict[bool, Tensor | None] = field(default_factory=dict)

    def bias(self, length: int, causal: bool, dtype: torch.dtype) -> Tensor | None:
        """What is added to attention scores: 0 where a query may look, -inf elsewhere; computed once a pass.

        (T, S) when all rows are alike, (B, 1, T, S) when documents differ, None when every query may look everywhere. S counts the
        remembered tokens and the T new ones.
        """
        if causal not in self.biases:
            allowed = self._allowed(length, causal)
            self.biases[causal] = None if allowed is None else torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, float("-inf"))
        return self.biases[causal]

    def _allowed(self, length: int, causal: bool) -> Tensor | None:
        past = self.cache.length if self.cache else 0
        allowed: Tensor | None = None
        if causal and length > 1:
            allowed = torch.ones(length, past + length, dtype=torch.bool, device=self.positions.device).tril(past)
        if self.documents is None:
            return allowed
        keys = self.documents
        if self.cache is not None and self.cache.documents is not None:
            keys = torch.cat([self.cache.documents, keys], dim=1)
        if bool((keys == keys[:, :1]).all()):                                            # one document a row: nothing more to hide
            return allowed
        same = self.documents[:, None, :, None] == keys[:, None, None, :]
        return same if allowed is None else allowed & same


def document_positions(documents: Tensor) -> Tensor:
    """(B, T) position of each token in its run of equal document numbers: 0, 1, 2, ... restarting at every border."""
    index = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    starts = torch.ones_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return index - torch.where(starts, index, 0).cummax(dim=1).values
