"""Sequences whose memory is no row of keys and values: recurrent state, what was encoded of a source, mixtures of these. Each has a slot of its own, a
cache as `model.predict` uses it; slots whose caches are of equal shape are put together for a pass and taken apart after it.

A slot is planned at its largest. Beginnings are not shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Several
from typing import Any

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture
from ftheta.blocks.context import Cache, Source
from ftheta.serving.sequence import Piece, Sequence


class Slots:
    """An architecture and a cache for each slot. `placed`: whether what a model makes of a token depends on how many came before it."""

    def __init__(self, architecture: Architecture, count: int, placed: bool):
        self.architecture, self.placed = architecture.eval(), placed
        self.device = next(architecture.parameters()).device
        self.caches = [Cache() for _ in range(count)]

    @torch.no_grad()
    def run(self, pieces: Iterable[Piece]) -> dict[Sequence, Tensor]:
        """Read these pieces; logits (1, V) after the last token of those of which that is asked."""
        alike: dict[Any, list[Piece]] = {}
        for piece in pieces:
            key: Any = piece.sequence if piece.seen == 0 else (len(piece.tokens), self.shape(self.caches[piece.pages[0]]))
            alike.setdefault(key, []).append(piece)
        found: dict[Sequence, Tensor] = {}
        for each in alike.values():
            found |= self.together(each)
        return found

    def shape(self, cache: Cache) -> tuple[Any, ...]:
        """What caches have in common that can be read together."""
        states = tuple(tuple(part.shape for part in state) for state in cache.states.values())
        return states, cache.length if self.placed else None, None if cache.source is None else cache.source.hidden.shape

    def together(self, pieces: Several[Piece]) -> dict[Sequence, Tensor]:
        """A pass over sequences that have read as much, or over one that begins."""
        slots, count = [piece.pages[0] for piece in pieces], len(pieces[0].tokens)
        request = pieces[0].sequence.request
        fresh = pieces[0].seen == 0
        cache = Cache() if fresh else joined([self.caches[slot] for slot in slots])
        tokens = self.tensor([piece.tokens for piece in pieces])
        source = {"source": self.tensor([request.source])} if fresh and request.source is not None else {}
        hidden = self.architecture(tokens=tokens, cache=cache, **source)["hidden"][:, -1]
        lengths = [count if fresh else self.caches[slot].length + count for slot in slots]
        for row, slot in enumerate(slots):
            self.caches[slot] = cache if len(slots) == 1 else row_of(cache, row, lengths[row])
        done = [row for row, piece in enumerate(pieces) if piece.last]
        if not done:
            return {}
        logits = self.architecture.head(hidden[done]).float()                                # type: ignore[operator]
        return {pieces[row].sequence: each[None] for row, each in zip(done, logits, strict=True)}

    def tensor(self, rows: list[list[int]]) -> Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self.device)


def joined(caches: Several[Cache]) -> Cache:
    """Caches of one row each as one of several rows; itself if it is one."""
    first = caches[0]
    if len(caches) == 1:
        return first
    states = {mixer: stacked(cache.states[mixer] for cache in caches) for mixer in first.states}
    source = None
    if first.source is not None:
        every = [cache.source for cache in caches if cache.source is not None]
        keys = {mixer: stacked(each.keys[mixer] for each in every) for mixer in first.source.keys}
        source = Source(torch.cat([each.hidden for each in every]), None, keys)                  # type: ignore[arg-type]
    return Cache(states, None, first.length, source)


def stacked(states: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(parts) for parts in zip(*states, strict=True))


def row_of(cache: Cache, row: int, length: int) -> Cache:
    """One row of a cache as one of its own, whose memory does not hold the others'."""
    states = {mixer: tuple(part[row : row + 1].clone() for part in state) for mixer, state in cache.states.items()}
    source = None
    if cache.source is not None:
        keys = {mixer: (k[row : row + 1].clone(), v[row : row + 1].clone()) for mixer, (k, v) in cache.source.keys.items()}
        source = Source(cache.source.hidden[row : row + 1].clone(), None, keys)
    return Cache(states, None, length, source)


def bytes_of(cache: Cache) -> int:
    """What a cache takes."""
    parts = [part for state in cache.states.values() for part in state]
    if cache.source is not None:
        parts += [cache.source.hidden, *(part for pair in cache.source.keys.values() for part in pair)]
    return sum(part.numel() * part.element_size() for part in parts)


@torch.no_grad()
def largest(architecture: Architecture, tokens: int | None, source: int | None) -> int:
    """Bytes of a cache of so many tokens and of a source of so many: measured for one and two of each, since it grows by as much with every token."""
    device = next(architecture.parameters()).device

    def measured(length: int, read: int) -> int:
        cache = Cache()
        inputs = {} if source is None else {"source": torch.zeros(1, read, dtype=torch.long, device=device)}
        architecture.eval()(tokens=torch.zeros(1, length, dtype=torch.long, device=device), cache=cache, **inputs)
        return bytes_of(cache)

    one = measured(1, 1)
    grows = 0 if tokens is None else (measured(2, 1) - one) * (tokens - 1)
    return one + grows + (0 if source is None else (measured(1, 2) - one) * (source - 1))
