"""Reading rows of tokens with a causal model that remembers what it has read: attention caches, recurrent state, an encoded source."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture
from ftheta.blocks.context import Cache
from ftheta.core.contract import PADDING


class Memory:
    """A model and what it remembers of several rows, which are padded on the left; padding is a document of its own."""

    def __init__(self, model: Architecture):
        self.model = model.eval()
        self.device = next(model.parameters()).device
        self.cache: Cache | None = None

    def read(self, rows: Sequence[Sequence[int]], last: int, sources: Sequence[Sequence[int]] = ()) -> Tensor:
        """Logits (B, last, V) after the last tokens of every row, which go on from what is remembered; sources are encoded once."""
        longest = max(map(len, rows))
        cache = self.cache = self.cache or Cache()
        documents = None
        if cache.documents is not None or any(len(row) < longest for row in rows):
            documents = torch.tensor([[PADDING] * (longest - len(row)) + [0] * len(row) for row in rows], device=self.device)
        tokens = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=self.device)
        inputs = {"tokens": tokens} if documents is None else {"tokens": tokens, "documents": documents}
        if cache.source is None and sources:
            inputs |= self.padded(sources)
        hidden = self.model(**inputs, cache=cache)["hidden"]
        found = self.model.head(hidden[:, -1])[:, None] if last == 1 else self.model.head(hidden[:, -last:])  # type: ignore[operator]
        return found.float()

    def padded(self, sources: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """source and source_documents (B, S), padded on the right."""
        longest = max(map(len, sources))
        source = torch.tensor([[*row, *[0] * (longest - len(row))] for row in sources], device=self.device)
        documents = torch.tensor([[0] * len(row) + [PADDING] * (longest - len(row)) for row in sources], device=self.device)
        return {"source": source, "source_documents": documents}

    def select(self, rows: Sequence[int]) -> None:
        """Keep only some rows."""
        if self.cache is not None:
            self.cache.select(torch.tensor(rows, device=self.device))

    def forget(self, count: int) -> bool:
        """Take out the last tokens of every row; False, and nothing is done, where some part's state cannot be taken back (recurrence, windows)."""
        if not count or self.cache is None:
            return True
        states = {mixer: mixer.forget(state, count) for mixer, state in self.cache.states.items()}
        if any(state is None for state in states.values()):
            return False
        self.cache.states = states
        self.cache.length -= count
        if self.cache.documents is not None:
            self.cache.documents = self.cache.documents[:, :-count]
        return True
