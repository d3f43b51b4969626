"""A step through the model: the new tokens of all sequences in one row, and the logits of those that get their next token."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture
from ftheta.blocks.paged import Group, PagedCache
from ftheta.serving.adapted import Adapted
from ftheta.serving.sequence import Piece, Sequence

WASTE = 2
"""At most so many times as many pages and tokens are looked at as there are, since the sequences of a group are as long as its longest."""
APART = 1 << 16
"""Bytes of a sequence's keys and values in a layer from which it is looked at by itself, on a CPU."""
SMALL = 64
"""Pages, or tokens, that may be looked at in vain in any case: one product more costs as much."""


class Runner:
    """An architecture and its pages."""

    def __init__(self, architecture: Architecture, cache: PagedCache, adapted: Adapted):
        self.architecture, self.cache, self.adapted = architecture.eval(), cache, adapted
        self.device = next(architecture.parameters()).device
        pools = [pool for pool in cache.keys.values() if pool.device.type == "cpu" and pool.dtype == torch.float32]
        self.bytes = max((2 * pool.element_size() * pool.shape[0] * pool.shape[2] for pool in pools), default=0)
        """What a token's keys and values take in a layer, where sequences may be looked at by themselves: in narrow types what they give would differ."""

    @torch.no_grad()
    def run(self, pieces: Iterable[Piece]) -> dict[Sequence, Tensor]:
        """Read these pieces; logits (last, V) after the last tokens of those of which that is asked."""
        apart, others = list[Piece](), list[Piece]()
        for piece in pieces:
            (apart if self.is_apart(piece) else others).append(piece)
        others.sort(key=lambda piece: (len(piece.tokens), len(piece.pages)))
        ordered, groups, start = [*apart, *others], list[Group](), 0
        for part in [*([apart] if apart else []), *self.grouped(others)]:
            groups.append(self.group(part, start))
            start += sum(len(piece.tokens) for piece in part)
        if apart:
            groups[0].runs = [(first := piece.pages[0] * self.cache.size, first + piece.seen + 1) for piece in apart]
        size = self.cache.size
        tokens, places, slots, asked = list[int](), list[int](), list[int](), list[int]()
        for piece in ordered:
            reach = range(piece.seen, piece.seen + len(piece.tokens))
            tokens += piece.tokens
            places += reach
            slots += [piece.pages[place // size] * size + place % size for place in reach]
            asked += range(len(tokens) - piece.last, len(tokens))
        self.adapted.choose((piece.sequence.adapter for piece in ordered for _ in piece.tokens), self.device)
        self.cache.expect(self.tensor(places)[None], self.tensor(slots), groups)
        hidden = self.architecture(tokens=self.tensor(tokens)[None], cache=self.cache)["hidden"]
        self.adapted.choose((), self.device)
        if not asked:
            return {}
        done = [piece for piece in ordered if piece.last]
        logits = self.architecture.head(hidden[0, self.tensor(asked)]).float()                           # type: ignore[operator]
        return {piece.sequence: rows for piece, rows in zip(done, logits.split([piece.last for piece in done]), strict=True)}

    def tensor(self, values: list[int] | list[list[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)

    def is_apart(self, piece: Piece) -> bool:
        """Whether it is a token whose sequence lies in one place, large enough to be looked at there."""
        pages = piece.pages
        large = len(piece.tokens) == 1 and self.bytes > 0 and self.bytes * piece.seen >= APART
        return large and pages == list(range(pages[0], pages[0] + len(pages)))

    def grouped(self, ordered: list[Piece]) -> list[list[Piece]]:
        """Pieces of about the same length together."""
        groups: list[list[Piece]] = []
        tokens = pages = 0
        for piece in ordered:
            tokens, pages = tokens + len(piece.tokens), pages + len(piece.pages)
            if groups:
                wide = (len(groups[-1]) + 1) * max(len(each.tokens) for each in [*groups[-1], piece])
                long = (len(groups[-1]) + 1) * max(len(each.pages) for each in [*groups[-1], piece])
            if not groups or wide > max(WASTE * tokens, SMALL) or long > max(WASTE * pages, SMALL):
                groups.append([])
                tokens, pages = len(piece.tokens), len(piece.pages)
            groups[-1].append(piece)
        return groups

    def group(self, part: list[Piece], start: int) -> Group:
        counts = [len(piece.tokens) for piece in part]
        most, width = max(len(piece.pages) for piece in part), max(counts)
        pages = self.tensor([[*piece.pages, *[0] * (most - len(piece.pages))] for piece in part])
        first = self.tensor([piece.seen for piece in part])
        steps = torch.arange(width, device=self.device)
        real = steps < self.tensor(counts)[:, None]
        return Group(start, counts, pages, torch.where(real, first[:, None] + steps, 0))
