"""Best fit, longest first: things of unlike lengths into as few equal rooms as may be.

Each goes into the fullest room that it still fits into (Johnson 1973; for language models Ding et al. 2024, arXiv:2404.10830),
found by counting rooms by what they have left, so it takes time in proportion to things × log(length).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_fit(lengths: Sequence[int] | np.ndarray, room: int) -> list[list[int]]:
    """Indices of the things in every room; one longer than `room` counts as `room`. Deterministic."""
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
