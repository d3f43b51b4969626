"""Texts of evaluation sets that stand in training documents: found by runs of words, so that a model is not asked what it was shown."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ftheta.core.config import Config
from ftheta.core.errors import DataError, suggest
from ftheta.data.dedup.deduplication import Decision, Deduplication, Signature, merged, offsets, uncut
from ftheta.data.dedup.hashes import Words, batches, runs_of_words, words_of
from ftheta.data.documents import Document
from ftheta.data.rows import Format, Row, read_rows

SIEVE = 20
"""Leading bits by which a run is first looked up: nearly all are in no evaluation set."""


class EvaluationSet(Config):
    """Rows that a model will be asked."""

    path: str
    """A `.csv`, `.tsv` or `.jsonl` file, or `data:NAME/FILE` for one of a named data set; a benchmark's file says which it asks (`data`, `files`)."""
    columns: tuple[str, ...] = ()
    """The columns whose texts are looked for; none: every column that holds text."""
    format: Format | None = None
    """How the file is read, where its ending does not say so."""

    def texts(self) -> list[list[str]]:
        """Of every row, what is looked for. Raises DataError."""
        found = [[self.text(row, column) for column in self.columns or self.textual(row)] for row in read_rows(self.path, self.format)]
        if not found:
            raise DataError(f"data.deduplicate.against.path: {self.path} holds no row")
        return found

    @staticmethod
    def textual(row: Row) -> list[str]:
        return [column for column, value in row.columns.items() if isinstance(value, str)]

    @staticmethod
    def text(row: Row, column: str) -> str:
        if not isinstance(value := row.columns.get(column), str):
            near = suggest(column, EvaluationSet.textual(row), "columns of text")
            raise DataError(f"{row.place}: no text in column '{column}' (data.deduplicate.against.columns){near}")
        return value


@dataclass
class Wanted:
    """The runs of words to look for: hashes by length, and which rows of which sets they are from."""

    hashes: dict[int, np.ndarray]
    """Length in words → sorted hashes."""
    sieves: dict[int, np.ndarray]
    first: dict[int, int]
    """Length in words → the number of its first run, runs of all lengths numbered together."""
    asked: np.ndarray
    """(p, 2) int64: a run's number and that of a row that holds it."""
    rows: np.ndarray
    """(E + 1,): the first row of every evaluation set."""
    long_enough: np.ndarray
    """(rows,) bool: whether anything is looked for."""

    def hits(self, words: Words) -> np.ndarray:
        """(m, 4) int64: text, start and end in characters, and the run's number, of every run that stands in the texts."""
        found = [np.empty((0, 4), dtype=np.int64)]
        for length, hashes in self.hashes.items():
            runs, firsts, counts = runs_of_words(words, length)
            maybe = np.flatnonzero(self.sieves[length][(runs >> np.uint64(64 - SIEVE)).astype(np.int64)])
            place = np.minimum(np.searchsorted(hashes, runs[maybe]), len(hashes) - 1)
            same = (hashes[place] == runs[maybe]) & (np.repeat(words.counts, counts)[maybe] >= length)
            at, first = maybe[same], firsts[maybe[same]]
            text = np.repeat(np.arange(len(counts)), counts)[at]
            found.append(np.column_stack([text, words.starts[first], words.ends[first + length - 1], place[same] + self.first[length]]))
        return np.concatenate(found)


class Contamination(Deduplication):
    """Documents that hold a text of an evaluation set: 13 words of it in a row (Brown et al. 2020, arXiv:2005.14165), or 20 Chinese characters.

    13 words is the longest run GPT-3's filter asks for; shorter ones are common in texts that have nothing to do with each other. A Chinese word is
    about one and a half characters long, so 20 characters are as much. Words are compared as letters and digits, capital or not.
    """

    kind: Literal["contamination"] = "contamination"
    against: tuple[EvaluationSet, ...] = Field(min_length=1)
    """The evaluation sets."""
    words: int = Field(default=13, ge=2)
    """Words in a row that are too many to be chance."""
    characters: int = Field(default=20, ge=2)
    """The same for texts that are mostly in a script without spaces, where every character is a word."""
    least: float = Field(default=0.6, gt=0, le=1)
    """A text with fewer words is looked for as a whole if it has this share of them: 8 words, as in GPT-3's filter, or 12 characters."""
    found: Literal["drop", "cut"] = "drop"
    """What becomes of a document that holds one: it is dropped, or the text cut out of it."""
    margin: int = Field(default=200, ge=0)
    """For `cut`: how many characters before and after go with it; GPT-3's filter takes 200."""

    def wanted(self) -> Wanted:
        return runs_wanted(self.against, self.words, self.characters, self.least)

    def signature(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        """`hits` (m, 4) int64 (document, start, end, run) and the `count` of documents. Raises DataError for an evaluation set that cannot be read."""
        wanted, found = self.wanted(), [np.empty((0, 4), dtype=np.int64)]
        for first, texts in batches([document.text for document in documents]):
            found.append(wanted.hits(words_of(texts)) + np.array([first, 0, 0, 0]))
        return {"hits": np.concatenate(found), "count": np.array([len(documents)])}

    def decide(self, shards: Sequence[Signature]) -> list[Decision]:
        first, decisions = offsets([int(shard["count"][0]) for shard in shards]).tolist(), []
        for shard, (start, end) in zip(shards, pairwise(first), strict=True):
            decision, hits = uncut(end - start, start), np.asarray(shard["hits"])
            if self.found == "drop":
                decision.keep[hits[:, 0]] = False
            else:
                decision.cuts = merged(np.column_stack([hits[:, 0], np.maximum(hits[:, 1] - self.margin, 0), hits[:, 2] + self.margin]))
            decisions.append(decision)
        return decisions

    def account(self, shards: Sequence[Signature]) -> dict[str, Any]:
        """For every evaluation set: its rows, how many are long enough to be looked for, how many were found, and in how many documents."""
        wanted, first = self.wanted(), offsets([int(shard["count"][0]) for shard in shards]).tolist()
        pairs = [np.asarray(shard["hits"])[:, [0, 3]] + [start, 0] for shard, start in zip(shards, first, strict=False)]
        hits = np.concatenate([np.empty((0, 2), dtype=np.int64), *pairs])
        runs, report = np.unique(hits[:, 1]), {}
        for number, one in enumerate(self.against):
            low, high = wanted.rows[number : number + 2]
            own = wanted.asked[(wanted.asked[:, 1] >= low) & (wanted.asked[:, 1] < high)]
            seen = own[np.isin(own[:, 0], runs)]
            report[one.path] = {
                "rows": int(high - low), "looked_for": int(wanted.long_enough[low:high].sum()), "found": len(np.unique(seen[:, 1])),
                "documents": len(np.unique(hits[np.isin(hits[:, 1], seen[:, 0]), 0])),
            }
        return report

    def files(self) -> list[str]:
        return [one.path for one in self.against]


@functools.lru_cache(maxsize=4)
def runs_wanted(against: tuple[EvaluationSet, ...], words: int, characters: int, least: float) -> Wanted:
    """What is looked for; read once a process. Raises DataError."""
    sets = [one.texts() for one in against]
    rows = offsets([len(one) for one in sets])
    pairs = [(number, text) for number, texts in enumerate(texts for one in sets for texts in one) for text in texts]
    owner, texts = np.array([number for number, _ in pairs], dtype=np.int64), [text for _, text in pairs]
    spelled = words_of(texts)
    counts, places = spelled.counts, np.repeat(np.arange(len(texts)), spelled.counts)
    whole = np.where(np.bincount(places, weights=spelled.alone, minlength=len(texts)) > counts / 2, characters, words)
    enough = counts >= np.array([math.ceil(least * n) for n in whole.tolist()], dtype=np.int64)
    lengths = np.where(enough, np.minimum(counts, whole), 0)
    hashes, sieves, first, asked, total = {}, {}, {}, [np.empty((0, 2), dtype=np.int64)], 0
    for length in np.unique(lengths[lengths > 0]).tolist():
        chosen = np.flatnonzero(lengths == length)
        runs, _, per_text = runs_of_words(words_of([texts[i] for i in chosen]), length)
        found, inverse = np.unique(runs, return_inverse=True)
        sieve = np.zeros(1 << SIEVE, dtype=bool)
        sieve[(found >> np.uint64(64 - SIEVE)).astype(np.int64)] = True
        hashes[length], sieves[length], first[length] = found, sieve, total
        asked.append(np.column_stack([inverse + total, np.repeat(owner[chosen], per_text)]))
        total += len(found)
    long_enough = np.zeros(int(rows[-1]), dtype=bool)
    long_enough[owner[enough]] = True
    return Wanted(hashes, sieves, first, np.unique(np.concatenate(asked), axis=0), rows, long_enough)
