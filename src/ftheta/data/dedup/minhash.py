"""MinHash and its banding: how alike sets are, from a few numbers of each (Broder 1997; Indyk and Motwani 1998).

For a random order of all things, the least thing of A and that of B are the same with probability J = |A ∩ B| / |A ∪ B| (Jaccard). With k orders, the
share of equal least things estimates J without bias. Cut into b bands of r numbers, two sets with similarity s have a whole band in common, and
become a candidate, with probability 1 - (1 - s^r)^b.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from ftheta.core.random import key
from ftheta.data.dedup.hashes import batches, runs_of_words, words_of

BLOCK = 1 << 17
"""Shingles that are put in one order at once."""
LEVELS = 1 << 8
"""Numbers kept of 8 bits: 255 of 256 unequal ones are still seen to be unequal (b-bit minwise hashing, Li and König 2010, arXiv:0910.3349)."""


@functools.cache
def orders(count: int) -> np.ndarray:
    """(k,) odd numbers a: x → a x (mod 2^32) goes through all 32-bit numbers in another order for each (Dietzfelbinger et al. 1997); the x are random."""
    return np.random.default_rng(key("minhash")).integers(1 << 31, size=count, dtype=np.uint32) * 2 + 1


def least(things: np.ndarray, counts: np.ndarray, count: int) -> np.ndarray:
    """(k, n): the least number of each set in every order, of an empty set 2^32 - 1; things (M,) are 32-bit hashes, set after set, counts (n,) how many."""
    found = np.full((count, len(counts)), np.iinfo(np.uint32).max, dtype=np.uint32)
    some = np.flatnonzero(counts)
    ends = np.cumsum(counts[some])
    if not len(some):
        return found
    starts = ends - counts[some]
    factors = orders(count)
    room = np.empty(min(len(things), BLOCK + int(counts.max())), dtype=np.uint32)
    lowest = np.empty((count, len(some)), dtype=np.uint32)
    first = 0
    while first < len(some):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + BLOCK, "right")))
        block, cuts = things[starts[first] : ends[last - 1]], starts[first:last] - starts[first]
        ordered = room[: len(block)]
        for i in range(count):
            np.multiply(block, factors[i], out=ordered)
            np.minimum.reduceat(ordered, cuts, out=lowest[i, first:last])
        first = last
    found[:, some] = lowest
    return found


def sketches(texts: Sequence[str], count: int, length: int, unit: str = "word") -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For some texts at a time the number of the first, (k, n) least numbers of every text's runs of `length` words, and (n,) how many runs it has."""
    for first, some in batches(texts):
        runs, _, counts = runs_of_words(words_of(some, unit), length)
        yield first, least((runs >> np.uint64(32)).astype(np.uint32), counts, count), counts


def banded(sketch: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """(b, n) uint64: a hash of every band's r numbers, never 0."""
    draws = np.random.default_rng(key("bands"))
    factors = draws.integers(1 << 63, size=rows, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    found = np.zeros((bands, sketch.shape[1]), dtype=np.uint64)
    for row in range(rows):
        found += sketch[row : bands * rows : rows] * factors[row]
    return np.maximum(found, np.uint64(1))


def alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(m,): the estimated Jaccard similarity of rows of sketches (m, k) of 8 bits. Unbiased."""
    equal = (a == b).mean(axis=1, dtype=np.float64)
    return (equal - 1 / LEVELS) / (1 - 1 / LEVELS)


def candidate(similarity: np.ndarray | float, bands: int, rows: int) -> np.ndarray | float:
    """The probability that two sets of this similarity have a band in common: 1 - (1 - s^r)^b."""
    return 1 - (1 - similarity**rows) ** bands


@functools.cache
def banding(threshold: float, permutations: int, balance: float) -> tuple[int, int]:
    """Bands b and rows r, b · r ≤ permutations, for which balance · ∫_0^t p ds + (1 - balance) · ∫_t^1 (1 - p) ds is least: unlike pairs found, like ones missed."""
    low, high = (np.arange(0.0005, 1, 0.001) * width + start for width, start in ((threshold, 0.0), (1 - threshold, threshold)))
    best = (np.inf, 1, 1)
    for rows in range(1, permutations + 1):
        for bands in range(1, permutations // rows + 1):
            false = np.mean(candidate(low, bands, rows)) * threshold
            missed = np.mean(1 - candidate(high, bands, rows)) * (1 - threshold)
            best = min(best, (float(balance * false + (1 - balance) * missed), bands, rows))
    return best[1], best[2]
