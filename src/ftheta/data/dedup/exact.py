"""Equal documents, paragraphs or lines, by a hash of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import xxhash
from pydantic import Field

from ftheta.data.dedup.copies import Copies, chosen, one_of_each
from ftheta.data.dedup.deduplication import Decision, Signature, compact, merged, offsets, uncut
from ftheta.data.dedup.groups import groups
from ftheta.data.documents import Document

UNITS = {"paragraph": re.compile(r"(?:[^\n]+\n?)+\n*"), "line": re.compile(r"[^\n]*\n|[^\n]+")}
"""A paragraph with the empty lines after it; a line with its end."""
NO_WORD = re.compile(r"[\W_]+")


class Exact(Copies):
    """Documents, or paragraphs or lines in them, that stand in the data before: 64-bit xxh3 hashes, sorted.

    That two different documents of a billion are taken for equal has a probability of 3 %.
    """

    kind: Literal["exact"] = "exact"
    unit: Literal["document", "paragraph", "line"] = "document"
    """What is compared. Repeated documents are dropped, paragraphs and lines cut out; paragraphs are parted by empty lines."""
    ignore: Literal["nothing", "spaces", "signs"] = "spaces"
    """What makes no difference: nothing; how much white space there is; or capitals, punctuation and everything else but letters and digits."""
    shortest: int = Field(default=1, ge=1)
    """Units of fewer characters, less what is ignored, are left alone; with lines or paragraphs some thirty spare headings and brackets."""

    def hash(self, text: str) -> int:
        """Of what counts of a unit; 0: too short."""
        if self.ignore != "nothing":
            text = " ".join(text.split() if self.ignore == "spaces" else NO_WORD.split(text.casefold())).strip()
        return max(1, xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))) if len(text) >= self.shortest else 0

    def units(self, documents: Sequence[Document]) -> Iterator[tuple[int, int, int, int]]:
        """Hash, document, start and end of every paragraph or line long enough."""
        for number, document in enumerate(documents):
            for match in UNITS[self.unit].finditer(document.text):
                if found := self.hash(match[0].strip("\n") if self.ignore == "nothing" else match[0]):
                    yield found, number, match.start(), match.end()

    def signature(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        """`hash` (n,), of documents; or `hash` (m,) and `place` (m, 3) of units, and the `count` of documents."""
        if self.unit == "document":
            return {"hash": np.array([self.hash(document.text) for document in documents], dtype=np.uint64), **self.worth(documents)}
        found = list(self.units(documents))
        places = np.array([place for _, *place in found], dtype=np.int64).reshape(-1, 3)
        hashes = np.array([hash for hash, *_ in found], dtype=np.uint64)
        return {"hash": hashes, "place": compact(places), "count": np.array([len(documents)]), **self.worth(documents)}

    def decide(self, shards: Sequence[Signature]) -> list[Decision]:
        hashes = [shard["hash"] for shard in shards]
        lengths = [len(piece) for piece in hashes]
        cluster = np.arange(sum(lengths))
        for numbers, begins in groups(hashes):
            cluster[numbers] = numbers[begins][np.cumsum(begins) - 1]
        if self.unit == "document":
            return one_of_each(cluster, shards, lengths)
        documents = offsets([int(shard["count"][0]) for shard in shards])
        owner = np.concatenate([shard["place"][:, 0] + first for shard, first in zip(shards, documents.tolist(), strict=False)]) if shards else cluster
        copies = chosen(cluster, shards, owner) != np.arange(len(cluster))
        first, decisions = offsets(lengths), []
        for number, shard in enumerate(shards):
            decision = uncut(int(documents[number + 1] - documents[number]), int(documents[number]))
            decision.cuts = merged(np.asarray(shard["place"])[copies[first[number] : first[number + 1]]])
            decisions.append(decision)
        return decisions
