"""Nearly equal documents, by MinHash and its banding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ftheta.data.dedup.copies import Copies, one_of_each
from ftheta.data.dedup.deduplication import Decision, Signature, forget, offsets
from ftheta.data.dedup.groups import Clusters, groups
from ftheta.data.dedup.minhash import alike, banded, banding, sketches
from ftheta.data.documents import Document

NEIGHBOURS = 64
"""With so many before it in its group is a document compared; groups larger than that are rare, and then of near-copies."""
PAIRS = 1 << 18
"""Pairs compared at once."""


class Near(Copies):
    """Documents that have most runs of words in common: pairs whose MinHash sketches share a band, joined into clusters (see `minhash`).

    Several documents, each near the next, become one cluster.
    """

    kind: Literal["near"] = "near"
    threshold: float = Field(default=0.7, gt=0, lt=1)
    """From which share of common runs on (Jaccard) two documents count as copies."""
    shingle: int = Field(default=5, ge=1)
    """Words in a run; a shorter document is one run."""
    unit: Literal["word", "character"] = "word"
    """What a word is: letters and digits up to a space or sign, and every character of a script without spaces (Chinese); or every letter and digit."""
    permutations: int = Field(default=128, ge=2, le=4096)
    """Numbers in a sketch: more of them separate alike from unlike more sharply, and cost as much more time."""
    balance: float = Field(default=0.05, gt=0, lt=1)
    """How much unlike pairs that share a band count against like ones that share none, when bands and rows are chosen; 0.5 is alike. Few with `verify`,
    which finds the unlike ones out."""
    verify: bool = True
    """Compare the whole sketches of pairs that share a band, and join them only if they are estimated to be as alike as `threshold`."""

    @property
    def bands_and_rows(self) -> tuple[int, int]:
        return banding(self.threshold, self.permutations, self.balance)

    def signature(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        """`bands` (b, n) uint64, 0 where a document has no word, and with `verify` the `sketch` (n, k) uint8."""
        bands, rows = self.bands_and_rows
        found = {"bands": np.zeros((bands, len(documents)), np.uint64), **self.worth(documents)}
        if self.verify:
            found["sketch"] = np.empty((len(documents), self.permutations), np.uint8)
        for first, sketch, sizes in sketches([document.text for document in documents], self.permutations, self.shingle, self.unit):
            here = slice(first, first + len(sizes))
            found["bands"][:, here] = np.where(sizes, banded(sketch, bands, rows), np.uint64(0))
            if self.verify:
                found["sketch"][here] = sketch.T
        return found

    def decide(self, shards: Sequence[Signature]) -> list[Decision]:
        """Band by band: of all documents one band's hashes are in memory at once."""
        lengths = [shard["bands"].shape[1] for shard in shards]
        clusters = Clusters(sum(lengths))
        for band in range(self.bands_and_rows[0]):
            for numbers, begins in groups([shard["bands"][band] for shard in shards]):
                if self.verify:
                    self.join_alike(clusters, numbers, begins, shards)
                else:
                    clusters.join(numbers, numbers[begins][np.cumsum(begins) - 1])
            forget(shards)
        return one_of_each(clusters.all(), shards, lengths)

    def join_alike(self, clusters: Clusters, numbers: np.ndarray, begins: np.ndarray, shards: Sequence[Signature]) -> None:
        """Join those pairs of each group that are alike, nearest neighbours first; pairs that are joined already are not compared."""
        group = np.cumsum(begins)
        places = np.arange(len(numbers))
        for distance in range(1, NEIGHBOURS + 1):
            places = places[(places >= distance) & (group[places] == group[places - distance])]
            if not len(places):
                return
            a, b = numbers[places], numbers[places - distance]
            apart = clusters.roots(a) != clusters.roots(b)
            a, b = a[apart], b[apart]
            for start in range(0, len(a), PAIRS):
                some, others = a[start : start + PAIRS], b[start : start + PAIRS]
                close = alike(sketches_of(shards, some), sketches_of(shards, others)) >= self.threshold
                clusters.join(some[close], others[close])

    def account(self, shards: Sequence[Signature]) -> dict[str, Any]:
        bands, rows = self.bands_and_rows
        return {"bands": bands, "rows": rows}


def sketches_of(shards: Sequence[Signature], numbers: np.ndarray) -> np.ndarray:
    """(m, k): the sketches of documents anywhere in the shards; of a mapped file no more than one shard's stay in memory."""
    first = offsets([len(shard["sketch"]) for shard in shards])
    found = np.empty((len(numbers), shards[0]["sketch"].shape[1]), dtype=np.uint8)
    order = np.argsort(numbers)
    ends = np.searchsorted(numbers[order], first[1:])
    start = 0
    for shard, end, begin in zip(shards, ends.tolist(), first.tolist(), strict=False):
        if end > start:
            here = order[start:end]
            found[here] = shard["sketch"][numbers[here] - begin]
            forget([{"sketch": shard["sketch"]}])
        start = end
    return found
