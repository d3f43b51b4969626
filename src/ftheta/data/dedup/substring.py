"""Repeated stretches of text, wherever they begin and end, by rolling hashes of which a fixed few are kept.

Of the hashes of all runs of w characters that begin in any g neighbouring places the least is kept (winnowing, Schleimer et al. 2003): the choice depends
on the text there alone, so every stretch of N = w + g - 1 characters that stands in two places has a kept run in common. About 2 of g + 1 runs are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ftheta.data.dedup.deduplication import Decision, Deduplication, Signature, compact, merged, offsets, uncut
from ftheta.data.dedup.groups import groups
from ftheta.data.dedup.hashes import LONG, batches, runs_of_characters
from ftheta.data.documents import Document


class Substring(Deduplication):
    """Cut out what stands in the data before, in whatever document or place, when it is long.

    Every repetition of `length` characters is found; what is shorter than three quarters of that never is. At most a quarter of `length` remains at each
    end, and the first copy stays whole. White space and capitals count. (Lee et al. 2022, arXiv:2107.06499, with hashes in place of a suffix array.)
    """

    kind: Literal["substring"] = "substring"
    length: int = Field(default=200, ge=8)
    """Characters from which on a repetition is found for certain; as to bytes, a Chinese text has a third as many characters."""

    @property
    def run(self) -> int:
        """w, characters in a run."""
        return self.length - self.length // 4

    def signature(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        """`hash` (m,) uint64 of the kept runs, `place` (m, 2) document and character, and the `count` of documents."""
        begins = [(number, at) for number, document in enumerate(documents) for at in range(0, max(1, len(document.text)), LONG)]
        pieces = [documents[number].text[at : at + LONG + self.length - 1] for number, at in begins]       # every window is whole in one of them
        begin = np.array(begins, dtype=np.int64).reshape(-1, 2)
        hashes, places = [np.empty(0, dtype=np.uint64)], [np.empty((0, 2), dtype=np.int64)]
        for first, texts in batches(pieces):
            runs, bounds = runs_of_characters(texts, self.run)
            kept = winnowed(runs, self.length - self.run + 1)
            piece = np.searchsorted(bounds, kept, "right") - 1
            hashes.append(runs[kept])
            places.append(np.column_stack([begin[piece + first, 0], begin[piece + first, 1] + kept - bounds[piece]]))
        hash, place = np.concatenate(hashes), np.concatenate(places)
        if len(pieces) > len(documents):                                                   # what two pieces share was kept twice
            place, once = np.unique(place, axis=0, return_index=True)
            hash = hash[once]
        return {"hash": hash, "place": compact(place), "count": np.array([len(documents)])}

    def decide(self, shards: Sequence[Signature]) -> list[Decision]:
        hashes = [shard["hash"] for shard in shards]
        again = np.zeros(sum(map(len, hashes)), dtype=bool)
        for numbers, begins in groups(hashes):
            again[numbers[~begins]] = True
        first, documents, decisions = offsets([len(piece) for piece in hashes]), offsets([int(shard["count"][0]) for shard in shards]), []
        for number, shard in enumerate(shards):
            decision = uncut(int(documents[number + 1] - documents[number]), int(documents[number]))
            places = np.asarray(shard["place"])[again[first[number] : first[number + 1]]]
            decision.cuts = merged(np.column_stack([places, places[:, 1] + self.run]))
            decisions.append(decision)
        return decisions


def winnowed(hashes: np.ndarray, width: int) -> np.ndarray:
    """Places, ascending, of those hashes that are the least of some `width` neighbours, none of which is 0 (a run over the end of a text)."""
    values = hashes - np.uint64(1)                                                        # 0, nothing to compare, is the largest of all
    if len(values) < width:
        return np.empty(0, dtype=np.int64)
    lowest = slide(values, width, np.minimum)
    complete = slide(values, width, np.maximum) != np.iinfo(np.uint64).max
    lowest = np.where(complete, lowest, np.uint64(0))
    border = np.zeros(width - 1, dtype=np.uint64)
    highest = slide(np.concatenate([border, lowest, border]), width, np.maximum)            # of all windows that a place is in
    return np.flatnonzero((values == highest) & (hashes != 0))


def slide(values: np.ndarray, width: int, best: np.ufunc) -> np.ndarray:
    """(n - width + 1,): the best of every `width` neighbours, by doubling."""
    reach = 1
    while 2 * reach <= width:
        values = best(values[:-reach], values[reach:])
        reach *= 2
    rest = width - reach
    return best(values[:-rest], values[rest:]) if rest else values
