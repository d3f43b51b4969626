"""Repeated stretches beside brute force: every long one is found, and nothing is cut that does not stand in the text before."""

from __future__ import annotations

import random
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.data.dedup import substring
from ftheta.data.dedup.hashes import runs_of_characters
from ftheta.data.dedup.substring import Substring, winnowed
from ftheta.data.documents import Document

LETTERS = st.lists(st.text("ab", max_size=24) | st.text("abc中", max_size=24), max_size=5)


def decided(texts: list[str], length: int) -> tuple[Substring, set[tuple[int, int]]]:
    """The characters (text, place) that are cut."""
    config = Substring(length=length)
    decision, = config.decide([config.signature([Document("", text) for text in texts])])
    assert decision.keep.all() and decision.cluster.tolist() == list(range(len(texts)))
    return config, {(document, at) for document, start, end in decision.cuts.tolist() for at in range(start, end)}


@settings(max_examples=400, deadline=None)
@given(LETTERS, st.integers(8, 13))
def test_all_long_repetitions_are_found_and_nothing_else_is_cut(texts: list[str], length: int) -> None:
    config, cut = decided(texts, length)
    before: dict[str, int] = {}
    places = [(number, at) for number, text in enumerate(texts) for at in range(len(text))]
    repeated = set()
    for number, at in places:
        run = texts[number][at : at + config.run]
        if len(run) == config.run:
            if run in before:
                repeated |= {(number, at + i) for i in range(config.run)}
            before.setdefault(run, 1)
    assert cut <= repeated
    seen: set[str] = set()
    for number, at in places:
        stretch = texts[number][at : at + length]
        if len(stretch) == length:
            if stretch in seen:                                                            # at most a quarter of it stays at each end
                middle = {(number, at + i) for i in range(length - config.run, config.run)}
                assert middle <= cut
            seen.add(stretch)


@settings(max_examples=200, deadline=None)
@given(LETTERS, st.integers(1, 4), st.integers(1, 6))
def test_kept_places_are_the_least_of_some_window(texts: list[str], length: int, width: int) -> None:
    runs, _ = runs_of_characters([*texts, "x"], length)
    values = runs.tolist()
    windows = [range(at, at + width) for at in range(len(values) - width + 1) if all(values[i] for i in range(at, at + width))]
    expected = sorted({i for window in windows for i in window if values[i] == min(values[j] for j in window)})
    assert winnowed(runs, width).tolist() == expected


def test_copied_passages_are_cut_but_for_their_ends_and_first_copies_stay() -> None:
    draws = random.Random(0)
    words = [f"w{draws.randrange(10_000)}" for _ in range(4000)]
    passages = [" ".join(words[80 * i : 80 * i + 80]) for i in range(50)]
    texts = [*passages[:40], *(f"own text number {i} begins. {passages[i]} And ends {i * i}." for i in range(20))]
    config = Substring(length=100)
    decision, = config.decide([config.signature([Document("", text) for text in texts])])
    assert [decision.apply(i, text) for i, text in enumerate(texts[:40])] == texts[:40]
    for i in range(20):
        left = decision.apply(40 + i, texts[40 + i])
        assert left is not None and left.startswith(f"own text number {i} begins.") and left.endswith(f"And ends {i * i}.")
        assert len(left) - (len(texts[40 + i]) - len(passages[i])) <= 2 * 25


@settings(max_examples=100, deadline=None)
@given(LETTERS, st.integers(8, 13), st.integers(1, 12))
def test_long_texts_in_pieces_are_as_whole_ones(texts: list[str], length: int, long: int) -> None:
    documents = [Document("", text * 3) for text in texts]
    whole = Substring(length=length).signature(documents)
    with mock.patch.object(substring, "LONG", long):
        parts = Substring(length=length).signature(documents)
    assert all(np.array_equal(parts[name], whole[name]) for name in ("hash", "place", "count"))


def test_few_of_the_runs_are_kept() -> None:
    draws = np.random.default_rng(0)
    text = "".join(map(chr, draws.integers(97, 123, size=200_000)))
    signature = Substring(length=200).signature([Document("", text)])
    assert abs(len(signature["hash"]) / len(text) * 52 / 2 - 1) < 0.03                             # 2 of g + 1 (Schleimer et al. 2003, theorem 1)
    assert sum(array.nbytes for array in signature.values()) < 0.65 * len(text)
