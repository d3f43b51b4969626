"""Best fit, longest first: things of unlike lengths into as few equal rooms as may be.

Each goes into the fullest room that it still fits into (Johnson 1973; for language models Ding et al. 2024, arXiv:2404.10830). Things
of one length go all at once into all rooms with the same space left, so it takes time in proportion to lengths × spaces, not to things.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def best_fit(lengths: Sequence[int] | np.ndarray, room: int) -> list[list[int]]:
    """Indices of the things in every room; one longer than `room` counts as `room`. Deterministic: of equally full rooms the last to become so is taken."""
    lengths = np.minimum(np.asarray(lengths, dtype=np.int64), room)
    order = np.argsort(-lengths, kind="stable")
    descending = lengths[order]
    row_of = np.empty(len(lengths), dtype=np.int64)                                       # by place in the order
    by_space: list[list[int]] = [[] for _ in range(room + 1)]                             # space left → rows with it, the last to be taken first
    spaces, rows = 0, 0                                                                   # bit s: some row has space s; how many rows there are
    borders = np.flatnonzero(np.diff(descending, prepend=-1, append=-1)).tolist()
    for place, end in pairwise(borders):
        length = int(descending[place])
        while place < end:
            enough = spaces >> length
            space = length + (enough & -enough).bit_length() - 1 if enough else room
            each = space // length if length else end - place                              # a row takes things of this length until none fits
            wanted = -(-(end - place) // each)
            if enough:
                taken = by_space[space][: -wanted - 1 : -1]
                del by_space[space][-len(taken) :]
                if not by_space[space]:
                    spaces ^= 1 << space
            else:
                taken = list(range(rows, rows + wanted))
                rows += wanted
            count = min(end - place, each * len(taken))
            row_of[place : place + count] = np.repeat(taken, each)[:count]
            place += count
            last = count - each * (len(taken) - 1)                                        # how many the last of them took
            for left, some in ((space - each * length, taken[:-1]), (space - last * length, taken[-1:])):
                if some:
                    by_space[left] += some
                    spaces |= 1 << left
    grouped = order[np.argsort(row_of, kind="stable")].tolist()
    edges = np.cumsum(np.bincount(row_of, minlength=rows)).tolist()
    return [grouped[start:end] for start, end in zip([0, *edges], edges, strict=False)]
