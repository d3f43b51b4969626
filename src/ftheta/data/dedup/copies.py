"""Which of several copies is kept."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import model_validator

from ftheta.core.errors import ConfigError, DataError, Problem
from ftheta.data.dedup.deduplication import Decision, Deduplication, Signature, offsets, uncut
from ftheta.data.documents import Document


class Copies(Deduplication):
    """Of several copies one is kept: that of the earliest source of the list, among those the one that `keep` says, among those the first."""

    keep: Literal["first", "longest", "best"] = "first"
    """Which copy stays: the first, the longest, or the one whose `fact` is the highest."""
    fact: str | None = None
    """For `best`: what is compared, a number that cleaning has found out about documents; a document without it comes last."""
    sources: tuple[str, ...] = ()
    """Sources whose copies are preferred, the best first; documents of others come after them."""

    @model_validator(mode="after")
    def says_what_is_best(self) -> Copies:
        if (self.keep == "best") != (self.fact is not None):
            raise ConfigError([Problem(("fact",), "says which copy is best: needed with keep: best, and with nothing else")])
        return self

    def worth(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        """What has to be known of the documents to choose, (n,) each. Raises DataError for a fact that is no number."""
        found = {}
        if self.sources:
            rank = {source: number for number, source in enumerate(self.sources)}
            found["rank"] = np.array([rank.get(str(document.facts.get("source")), len(rank)) for document in documents], dtype=np.int32)
        if self.keep == "longest":
            found["worth"] = np.array([len(document.text) for document in documents], dtype=np.float64)
        if self.fact is not None:
            found["worth"] = np.array([self.value(document, self.fact) for document in documents], dtype=np.float64)
        return found

    @staticmethod
    def value(document: Document, fact: str) -> float:
        value = document.facts.get(fact, -np.inf)
        if isinstance(value, str):
            raise DataError(f"{document.name}: fact '{fact}' is {value!r:.60}, expected a number (data.deduplicate keeps the copy with the highest)")
        return float(value)


def chosen(cluster: np.ndarray, shards: Sequence[Signature], owner: np.ndarray | None = None) -> np.ndarray:
    """(n,): the number of what stands for everything's cluster, given any number of each cluster; `owner` (n,) are the documents of what is in documents."""
    sizes = np.bincount(cluster, minlength=len(cluster))
    members = np.flatnonzero(sizes[cluster] > 1)
    keys: list[np.ndarray] = [members]
    for name, sign in (("worth", -1.0), ("rank", 1.0)):                                    # lexsort: the last key counts most
        if shards and name in shards[0]:
            values = np.concatenate([shard[name] for shard in shards]) * sign
            keys.append(values[members if owner is None else owner[members]])
    order = members[np.lexsort((*keys, cluster[members]))]
    first = order[np.concatenate([[True], cluster[order][1:] != cluster[order][:-1]])] if len(order) else order
    stands = np.arange(len(cluster))
    stands[cluster[first]] = first
    found = np.arange(len(cluster))
    found[members] = stands[cluster[members]]
    return found


def one_of_each(cluster: np.ndarray, shards: Sequence[Signature], lengths: Sequence[int]) -> list[Decision]:
    """Of every cluster of documents one is kept."""
    stands, decisions = chosen(cluster, shards), []
    first = offsets(lengths).tolist()
    for start, end in pairwise(first):
        decision = uncut(end - start, start)
        decision.cluster = stands[start:end].copy()
        decision.keep = decision.cluster == np.arange(start, end)
        decisions.append(decision)
    return decisions
