"""Things with the same hash found in bounded memory, and clusters joined from pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ftheta.data.dedup.deduplication import offsets

MOST = 1 << 22
"""Hashes compared at once; of more, those with the same leading bits at a time."""


def groups(hashes: Sequence[np.ndarray], most: int = MOST) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers, over all shards, of things whose hash others have too, and which of them begins a group; every group whole, in order of number.

    Hash 0 stands for nothing to compare. About `most` · 40 bytes of memory at once, however many there are.
    """
    first = offsets([len(piece) for piece in hashes])
    bits = max(0, int(first[-1] - 1) // most).bit_length()
    for leading in range(1 << bits):
        values, numbers = [], []
        for piece, start in zip(hashes, first.tolist(), strict=False):
            for at in range(0, len(piece), most):                                          # so that a mapped file is never in memory as a whole
                part = np.asarray(piece[at : at + most])
                chosen = part != 0 if not bits else (part != 0) & ((part >> np.uint64(64 - bits)) == leading)
                where = np.flatnonzero(chosen)
                values.append(part[where])
                numbers.append(where + (start + at))
        value, number = (np.concatenate(x) if x else np.empty(0, dtype=np.int64) for x in (values, numbers))
        order = np.argsort(value)
        value, number = value[order], number[order]
        same = value[1:] == value[:-1]
        shared = np.concatenate([same, [False]]) | np.concatenate([[False], same]) if len(value) else same
        value, number = value[shared], number[shared]
        order = np.lexsort((number, value))
        value, number = value[order], number[order]
        if len(number):
            yield number, np.concatenate([[True], value[1:] != value[:-1]])


class Clusters:
    """Numbers 0 to n - 1, some of them joined: a forest in which every number points to a smaller one of its cluster (union-find)."""

    def __init__(self, count: int):
        self.parent = np.arange(count)

    def roots(self, numbers: np.ndarray) -> np.ndarray:
        """The least number of each one's cluster; paths are halved until all are short."""
        found = self.parent[numbers]
        while True:
            above = self.parent[found]
            if np.array_equal(above, found):
                return found
            self.parent[numbers] = found = above

    def join(self, a: np.ndarray, b: np.ndarray) -> None:
        """Make one cluster of those of a_i and b_i, for every i."""
        while len(a):
            a, b = self.roots(a), self.roots(b)
            apart = a != b
            a, b = a[apart], b[apart]
            np.minimum.at(self.parent, np.maximum(a, b), np.minimum(a, b))

    def all(self) -> np.ndarray:
        """(n,): the least number of everyone's cluster."""
        return self.roots(np.arange(len(self.parent)))
