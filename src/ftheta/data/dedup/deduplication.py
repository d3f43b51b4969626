"""The contract of de-duplication: a small signature of every shard by itself, then one decision over all signatures.

`signature` sees the texts of one shard and may run anywhere. `decide` sees the signatures alone, in shard order; documents are numbered
through all shards, so how they were cut into shards changes nothing.
"""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftheta.core.config import Config
from ftheta.data.documents import Document

Signature = Mapping[str, np.ndarray]
"""Arrays of one shard by name; they may be memory-mapped."""


@dataclass
class Decision:
    """What becomes of the n documents of one shard."""

    keep: np.ndarray
    """(n,) bool."""
    cluster: np.ndarray
    """(n,) int64: the number, over all shards, of the document that stands for it; its own when alone."""
    cuts: np.ndarray
    """(m, 3) int64: document, start and end in characters of what is cut out; sorted, and apart from each other."""

    def apply(self, number: int, text: str) -> str | None:
        """The text of the shard's document of this number without what is cut; None if it is dropped or nothing is left of it."""
        if not self.keep[number]:
            return None
        first, last = np.searchsorted(self.cuts[:, 0], [number, number + 1])
        if first == last:
            return text
        place, pieces = 0, []
        for start, end in self.cuts[first:last, 1:].tolist():
            pieces.append(text[place:start])
            place = end
        left = "".join([*pieces, text[place:]])
        return left if left.strip() else None


class Deduplication(Config, ABC):
    """One way to find copies; an entry of the recipe's `data.deduplicate`."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return str(getattr(self, "kind"))  # noqa: B009

    @abstractmethod
    def signature(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        """What has to be known of one shard's documents, as plain arrays. A pure function of them. Raises DataError."""

    @abstractmethod
    def decide(self, shards: Sequence[Signature]) -> list[Decision]:
        """What becomes of every shard's documents, given all signatures in shard order. Deterministic, whatever the shards' sizes."""

    def account(self, shards: Sequence[Signature]) -> dict[str, Any]:
        """What the data card says beside how much was dropped and cut."""
        return {}

    def files(self) -> list[str]:
        """Files that signatures depend on besides the documents, as the recipe names them: what they hold is part of the stage's address."""
        return []


def forget(shards: Sequence[Signature]) -> None:
    """Let go of what has been read of files that are mapped: it is read again when it is looked at. Otherwise all of them count as this process's memory."""
    for mapped in {id(array.base): array.base for shard in shards for array in shard.values()}.values():
        if isinstance(mapped, mmap.mmap) and hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_DONTNEED)


def offsets(lengths: Sequence[int]) -> np.ndarray:
    """(S + 1,): the number of every shard's first document (or unit), and how many there are."""
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)


def compact(numbers: np.ndarray) -> np.ndarray:
    """Integers in 32 bits where they fit."""
    return numbers.astype(np.int32) if not len(numbers) or np.abs(numbers).max() < 1 << 31 else numbers


def merged(cuts: np.ndarray) -> np.ndarray:
    """(m, 3) cuts sorted, those that overlap or touch made one."""
    if not len(cuts):
        return np.empty((0, 3), dtype=np.int64)
    cuts = cuts.astype(np.int64)[np.lexsort((cuts[:, 1], cuts[:, 0]))]
    stretch = int(cuts[:, 2].max()) + 1                                                   # documents laid so far apart that they never touch
    starts, ends = cuts[:, 0] * stretch + cuts[:, 1], np.maximum.accumulate(cuts[:, 0] * stretch + cuts[:, 2])
    first = np.concatenate([[True], (starts[1:] > ends[:-1]) | (cuts[1:, 0] != cuts[:-1, 0])])
    last = np.concatenate([first[1:], [True]])
    return np.stack([cuts[first, 0], cuts[first, 1], ends[last] - cuts[last, 0] * stretch], axis=1)


def uncut(count: int, first: int) -> Decision:
    """A shard of which everything is kept; `first` is the number of its first document."""
    return Decision(np.ones(count, dtype=bool), np.arange(first, first + count), np.empty((0, 3), dtype=np.int64))
