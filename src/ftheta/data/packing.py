"""How documents become rows of equal length: cut where they end up, or whole, by best fit, longest first.

Every document goes into the fullest row that still has room for it (Johnson 1973; for language models Ding et al. 2024, arXiv:2404.10830),
found by counting rows by the room they have left, so it takes time in proportion to documents × log(length).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field, model_validator

from ftheta.core.config import Config
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError, Problem


class Shorter(Config):
    """A stretch of training with shorter rows."""

    until: float = Field(gt=0, lt=1)
    """Share of the budget at which it ends."""
    length: int = Field(gt=1)
    """Tokens in a row; must divide the full length."""


class Pack(Config):
    """How documents become rows of equal length."""

    length: int = Field(default=256, gt=1)
    """Tokens in a row."""
    ramp: tuple[Shorter, ...] = ()
    """Shorter rows first: each is cut into pieces until its share of the budget is used (Li et al. 2021, arXiv:2108.06084)."""

    @model_validator(mode="after")
    def divides(self) -> Pack:
        for i, stretch in enumerate(self.ramp):
            if self.length % stretch.length:
                raise ConfigError([Problem(("ramp", i, "length"), f"{stretch.length} does not divide the row's {self.length} tokens")])
            if i and stretch.until <= self.ramp[i - 1].until:
                raise ConfigError([Problem(("ramp", i, "until"), "must be later than the stretch before it")])
        return self


class Ramp:
    """Cuts rows of tokens into shorter ones, as far as training has come; the same tokens, targets included, in the same order."""

    def __init__(self, pack: Pack, lookahead: int):
        self.pack = pack
        self.lookahead = lookahead

    def __call__(self, batch: Batch, progress: float) -> Batch:
        length = next((stretch.length for stretch in self.pack.ramp if progress < stretch.until), self.pack.length)
        if length == self.pack.length:
            return batch
        return {name: value.unfold(1, length + self.lookahead, length).flatten(0, 1) for name, value in batch.items()}


def best_fit(lengths: Sequence[int] | np.ndarray, room: int) -> list[list[int]]:
    """Indices of the documents of every row; a document longer than `room` counts as `room`. Deterministic."""
    lengths = np.minimum(np.asarray(lengths, dtype=np.int64), room)
    order = np.argsort(-lengths, kind="stable")
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(room + 1)]                              # room left → rows with it
    fullest = Fullest(room + 1)
    for index in order.tolist():
        need = int(lengths[index])
        left = fullest.at_least(need)
        if left is None:
            row, left = len(rows), room
            rows.append([])
        else:
            row = by_room[left].pop()
            fullest.add(left, -1)
        rows[row].append(index)
        by_room[left - need].append(row)
        fullest.add(left - need, 1)
    return rows


class Fullest:
    """How many rows have each room left, as a tree, to find the least room that is enough."""

    def __init__(self, size: int):
        self.width = 1 << (size - 1).bit_length()
        self.counts = [0] * (2 * self.width)

    def add(self, room: int, change: int) -> None:
        place = self.width + room
        while place:
            self.counts[place] += change
            place //= 2

    def at_least(self, room: int) -> int | None:
        """The least room of any row that is at least this much; none: no row has it."""
        place = self.width + room
        if self.counts[place]:
            return room
        while place > 1:
            if place % 2 == 0 and self.counts[place + 1]:
                place += 1
                while place < self.width:
                    place = 2 * place if self.counts[2 * place] else 2 * place + 1
                return place - self.width
            place //= 2
        return None
