"""A step through the model: the new tokens of all sequences in one row, and the logits of those that get their next token."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture
from ftheta.blocks.paged import Group, PagedCache
from ftheta.serving.adapted import Adapted
from ftheta.serving.sequence import Sequence

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
    def run(self, work: Mapping[Sequence, int]) -> dict[Sequence, Tensor]:
        """Read so many tokens of each sequence; logits (V,) of the next token of those whose window is read to its end."""
        ordered = sorted(work, key=lambda sequence: (work[sequence], len(sequence.pages)))
        parts, groups, start = self.grouped(ordered, work), [], 0
        for part in parts:
            groups.append(self.group(part, work, start))
            start += sum(work[sequence] for sequence in part)
        size = self.cache.size
        tokens, places, slots, last = list[int](), list[int](), list[int](), list[int]()
        for sequence in ordered:
            seen, count = sequence.seen, work[sequence]
            tokens += sequence.request.window[seen : seen + count]
            places += range(seen, seen + count)
            slots += [sequence.pages[place // size] * size + place % size for place in range(seen, seen + count)]
            last.append(len(tokens) - 1)
        done = [(sequence, at) for sequence, at in zip(ordered, last, strict=True) if work[sequence] == sequence.unseen]
        self.adapted.choose((sequence.adapter for sequence in ordered for _ in range(work[sequence])), self.device)
        self.cache.expect(self.tensor(places)[None], self.tensor(slots), groups)
        hidden = self.architecture(tokens=self.tensor(tokens)[None], cache=self.cache)["hidden"]
        self.adapted.choose((), self.device)
        if not done:
            return {}
        logits = self.architecture.head(hidden[0, self.tensor([at for _, at in done])]).float()          # type: ignore[operator]
        return {sequence: row for (sequence, _), row in zip(done, logits, strict=True)}

    def tensor(self, values: list[int] | list[list[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)

    def grouped(self, ordered: list[Sequence], work: Mapping[Sequence, int]) -> list[list[Sequence]]:
        """Sequences of about the same length together."""
        groups: list[list[Sequence]] = []
        tokens = pages = 0
        for sequence in ordered:
            tokens, pages = tokens + work[sequence], pages + len(sequence.pages)
            if groups:
                wide = (len(groups[-1]) + 1) * max(work[each] for each in [*groups[-1], sequence])
                long = (len(groups[-1]) + 1) * max(len(each.pages) for each in [*groups[-1], sequence])
            if not groups or wide > max(WASTE * tokens, SMALL) or long > max(WASTE * pages, SMALL):
                groups.append([])
                tokens, pages = work[sequence], len(sequence.pages)
            groups[-1].append(sequence)
        return groups

    def group(self, part: list[Sequence], work: Mapping[Sequence, int], start: int) -> Group:
        counts = [work[sequence] for sequence in part]
        most, width = max(len(sequence.pages) for sequence in part), max(counts)
        pages = self.tensor([[*sequence.pages, *[0] * (most - len(sequence.pages))] for sequence in part]) 
        first = self.tensor([sequence.seen for sequence in part])
        steps = torch.arange(width, device=self.device)
        real = steps < self.tensor(counts)[:, None]
        return Group(start, counts, pages, torch.where(real, first[:, None] + steps, 0))
