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
SMALL = 64
"""Pages, or tokens, that may be looked at in vain in any case: one product more costs as much."""


class Runner:
    """An architecture and its pages."""

    def __init__(self, architecture: Architecture, cache: PagedCache, adapted: Adapted):
        self.architecture, self.cache, self.adapted = architecture.eval(), cache, adapted
        self.device = next(architecture.parameters()).device

    @torch.no_grad()
    def run(self, pieces: Iterable[Piece]) -> dict[Sequence, Tensor]:
        """Read these pieces; logits (last, V) after the last tokens of those of which that is asked."""
        ordered = sorted(pieces, key=lambda piece: (len(piece.tokens), len(piece.pages)))
        groups, start = [], 0
        for part in self.grouped(ordered):
            groups.append(self.group(part, start))
            start += sum(len(piece.tokens) for piece in part)
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
