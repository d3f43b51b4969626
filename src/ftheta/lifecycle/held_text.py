"""Text that several ways to make the same data can be judged by: held out by all of them, and trained on, copied or edited, by none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ftheta.core.errors import DataError
from ftheta.core.random import key
from ftheta.data.corpus.shards import StoredTexts, read_documents
from ftheta.data.dedup.hashes import batches, runs_of_words, words_of
from ftheta.data.text import PreparedText

RUN = 8
"""Words in a row that are looked for in training documents."""
KNOWN = 0.3
"""A document is not held out when this share of its runs of words stands in training documents."""
DOCUMENTS = 400
"""Held-out documents at most."""
CHARACTERS = 8192
"""Of each at most, from its beginning."""
FEWEST = 5


@dataclass(frozen=True)
class HeldText:
    """Documents to judge by."""

    names: list[str]
    texts: list[str]
    """As one of the ways makes them."""
    copied: int
    """Documents that all hold out, left out here because somebody trains on much of their text."""
    unchanged: Mapping[str, np.ndarray]
    """For every way (n,) bool: whether it makes the same text of the document."""


def held_text(ways: Mapping[str, PreparedText], first: str) -> HeldText:
    """The test documents of all ways that none trains on, as `first` makes them. Raises DataError when there are too few."""
    tests = {name: dict(documents(text, "test")) for name, text in ways.items()}
    common = [name for name in tests[first] if all(name in others for others in tests.values())]
    known = known_shares([tests[first][name] for name in common], trained(ways.values()))
    names = sorted((name for name, share in zip(common, known, strict=True) if share < KNOWN), key=lambda name: key(0, "held out", name))[:DOCUMENTS]
    if len(names) < FEWEST:
        raise DataError(
            f"data.split.test: {len(tests[first]):,} documents are kept for testing; {len(common):,} of them by every arm, and of {len(names):,} the training documents "
            f"of no arm hold much: {FEWEST} are needed, so give more documents or a larger share"
        )
    texts = [tests[first][name] for name in names]
    unchanged = {way: np.array([found[name] == text for name, text in zip(names, texts, strict=True)]) for way, found in tests.items()}
    return HeldText(names, [text[:CHARACTERS] for text in texts], int((known >= KNOWN).sum()), unchanged)


def documents(text: PreparedText, split: str) -> Iterator[tuple[str, str]]:
    for folder in text.corpus.divided:
        for document in read_documents(folder / f"{split}.parquet"):
            yield document.name, document.text


def trained(ways: Iterable[PreparedText]) -> Iterator[list[str]]:
    """Everything that any of them trains on or looks at while it trains, some texts at a time; what several share comes once."""
    files = {folder / f"{split}.parquet": None for text in ways for folder in text.corpus.divided for split in ("train", "validation")}
    for file in files:
        texts = list(StoredTexts([file]))
        for _, some in batches(texts):
            yield list(some)


def known_shares(texts: Sequence[str], others: Iterable[Sequence[str]]) -> np.ndarray:
    """(n,): the share of each text's runs of RUN words that stand in any other text. A text without words is known."""
    words = words_of(texts)
    runs, _, counts = runs_of_words(words, RUN)
    different, which = np.unique(runs, return_inverse=True)
    seen = np.zeros(len(different), dtype=bool)
    for some in others:
        theirs = runs_of_words(words_of(some), RUN)[0]
        seen |= np.isin(different, theirs)
    owners = np.repeat(np.arange(len(counts)), counts)
    found = np.bincount(owners, weights=seen[which], minlength=len(counts))
    return np.where(counts > 0, found / np.maximum(counts, 1), 1.0)
