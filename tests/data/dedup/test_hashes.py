"""Hashes of words and runs are those of the words and runs, wherever they stand; equal exactly when these are."""

from __future__ import annotations

import re
import unicodedata
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.data.dedup import hashes
from ftheta.data.dedup.hashes import UNSPACED, batches, mix, runs_of_characters, runs_of_words, words_of

TEXTS = st.lists(st.text("abAB é́1_.,'\n 中文日か한국ไท𠀀𝒳ß", max_size=40), max_size=6)


def alone(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in UNSPACED)


def naive(text: str, unit: str) -> list[tuple[int, int]]:
    """Words by a loop over characters."""
    found: list[tuple[int, int]] = []
    for at, character in enumerate(text):
        if unicodedata.category(character)[0] not in "LMN":
            continue
        fresh = unit == "character" or alone(character) or not found or found[-1][1] != at or alone(text[at - 1])
        if fresh:
            found.append((at, at + 1))
        else:
            found[-1] = (found[-1][0], at + 1)
    return found


def small(word: str) -> str:
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in word)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(["word", "character"]))
def test_words_are_those_of_a_loop_and_hashes_tell_them_apart(texts: list[str], unit: str) -> None:
    words = words_of(texts, unit)
    expected = [naive(text, unit) for text in texts]
    assert words.counts.tolist() == [len(one) for one in expected]
    assert list(zip(words.starts.tolist(), words.ends.tolist(), strict=True)) == [place for one in expected for place in one]
    spelled = [small(text[start:end]) for text, one in zip(texts, expected, strict=True) for start, end in one]
    assert words.alone.tolist() == [alone(word[0]) for word in spelled]
    assert len(set(zip(spelled, words.hashes.tolist(), strict=True))) == len(set(spelled)) == len(set(words.hashes.tolist()))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=9), max_size=6), st.integers(1, 5))
def test_runs_of_words_are_those_of_a_loop(texts: list[list[str]], length: int) -> None:
    found, firsts, counts = runs_of_words(words_of([" ".join(text) for text in texts]), length)
    expected = [tuple(text[at : at + length]) for text in texts for at in range(max(1, len(text) - length + 1)) if text]
    assert counts.tolist() == [max(1, len(text) - length + 1) if text else 0 for text in texts]
    assert len(found) == len(firsts) == len(expected)
    assert len(set(zip(expected, found.tolist(), strict=True))) == len(set(expected)) == len(set(found.tolist()))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab中", max_size=12), max_size=5), st.integers(1, 5))
def test_runs_of_characters_are_those_of_a_loop(texts: list[str], length: int) -> None:
    found, bounds = runs_of_characters(texts, length)
    expected = {}
    for text, start, end in zip(texts, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        own = found[start:end].tolist()
        assert [value != 0 for value in own] == [at + length <= len(text) for at in range(len(text) + 1)]
        for at in range(len(text) - length + 1):
            assert expected.setdefault(text[at : at + length], own[at]) == own[at]
    assert len(set(expected.values())) == len(expected)


def test_a_hash_does_not_depend_on_batch_or_place(monkeypatch) -> None:
    texts = [f"text {i} of many, with words {i * i} and 一些字" for i in range(200)]
    whole = words_of(texts).hashes
    monkeypatch.setattr(hashes, "BATCH", 100)
    parts = list(batches(texts))
    assert len(parts) > 50 and [first for first, _ in parts] == np.cumsum([0, *(len(some) for _, some in parts[:-1])]).tolist()
    assert np.array_equal(np.concatenate([words_of(some).hashes for _, some in parts]), whole)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("ab 中\n.", max_size=60), max_size=4), st.integers(2, 12), st.integers(1, 9), st.integers(1, 4), st.sampled_from(["word", "character"]))
def test_long_texts_in_pieces_are_as_whole_ones(texts: list[str], long: int, batch: int, length: int, unit: str) -> None:
    texts = [re.sub(r"([ab]{1,2})[ab]*", r"\1", text) for text in texts]                       # words longer than half a piece may be cut: there are none
    whole = words_of(texts, unit)
    with mock.patch.object(hashes, "LONG", 2 * long + 4), mock.patch.object(hashes, "BATCH", batch):
        parts = words_of(texts, unit)
        runs = runs_of_words(parts, length), runs_of_characters(texts, length)
    for name in ("hashes", "starts", "ends", "bounds", "alone"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name)), name
    for found, expected in zip(runs[0], runs_of_words(whole, length), strict=True):
        assert np.array_equal(found, expected)
    for found, expected in zip(runs[1], runs_of_characters(texts, length), strict=True):
        assert np.array_equal(found, expected)


def test_no_two_words_of_a_large_vocabulary_share_a_hash_or_half_of_one_too_often() -> None:
    vocabulary = sorted({f"{a}{b}{c}" for a in "abcdefghij" for b in range(40) for c in range(500)})
    found = words_of([" ".join(vocabulary)]).hashes
    assert len(np.unique(found)) == len(vocabulary)
    halves = len(found) - len(np.unique(found >> np.uint64(32)))                                # n² / 2³³ = 4.7 expected
    assert halves < 20
    for bit in range(64):
        share = ((found >> np.uint64(bit)) & np.uint64(1)).mean()
        assert abs(share - 0.5) < 5 * 0.5 / len(found) ** 0.5, bit


def test_mixing_is_one_to_one_and_as_published() -> None:
    assert len(np.unique(mix(np.arange(100_000, dtype=np.uint64)))) == 100_000
    gamma = 0x9E3779B97F4A7C15                                                             # splitmix64's first number from seed 0
    assert mix(np.array([gamma], dtype=np.uint64))[0] == 0xE220A8397B1DCDAF


def test_lone_surrogates_are_no_words() -> None:
    assert words_of(["a\ud800b", ""]).counts.tolist() == [2, 0]
    assert re.fullmatch(r"\W", "\ud800")
