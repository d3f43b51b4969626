"""Hashes of all words, runs of words and runs of characters of many texts at once.

The texts stand in one flat array of code points. With c_i a random 64-bit number for every character, H_i = Σ_{j<i} c_j B^j (mod 2^64) is one
running sum, and the hash of any stretch is (H_end - H_start) B^-start: one subtraction and one product, whatever its length (Karp and
Rabin 1987). The same once more over words gives hashes of runs of words. Two stretches that differ have the same hash with a probability
near 2^-64.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

BATCH = 1 << 18
"""Characters hashed at once: their arrays stay in the processor's cache."""
LONG = 1 << 20
"""Characters from which on a text is hashed piece by piece."""
BASE = 0x9E3779B97F4A7C15
UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""Code points of scripts without spaces between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer): each character is a word by itself."""


def mix(values: np.ndarray) -> np.ndarray:
    """64-bit numbers spread over all 64-bit numbers, one to one (Stafford's variant 13, as in splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@functools.cache
def letters() -> np.ndarray:
    """(0x110000,) uint64: a random number for every letter, mark and digit, the same for its capital, odd where the character is a word by itself; else 0."""
    found = np.zeros(0x110000, dtype=np.uint64)
    for code in range(0x20000):                                                            # beyond are ideographs, and what is in no text
        character = chr(code)
        if unicodedata.category(character)[0] in "LMN":
            small = character.lower()
            found[code] = ord(small) if len(small) == 1 else code
    found[0x20000:0x40000] = np.arange(0x20000, 0x40000)
    alone = np.zeros(0x110000, dtype=bool)
    for first, last in UNSPACED:
        alone[first : last + 1] = True
    odd = np.where(alone, np.uint64(1), np.uint64(0))
    return np.where(found > 0, (mix(found) & ~np.uint64(1)) | odd, np.uint64(0))


@functools.lru_cache(maxsize=2)
def powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """B^i and B^-i (mod 2^64) for i < count."""
    tables = []
    for base in (BASE, pow(BASE, -1, 1 << 64)):
        table = np.full(count, base, dtype=np.uint64)
        table[:1] = 1
        tables.append(np.multiply.accumulate(table))
    return tables[0], tables[1]


def stretches(values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Hashes of values[start:end] for starts and ends (m,) that ascend; about BATCH values summed at once."""
    found, first = np.empty(len(starts), dtype=np.uint64), 0
    while first < len(starts):
        begin = starts[first]
        last = max(first + 1, int(np.searchsorted(ends, begin + BATCH, "right")))
        some = values[begin : ends[last - 1]]
        table, inverse = powers(max(BATCH, 1 << len(some).bit_length()) + 1)
        sums = np.empty(len(some) + 1, dtype=np.uint64)
        sums[0] = 0
        np.multiply(some, table[: len(some)], out=sums[1:])
        np.cumsum(sums[1:], out=sums[1:])
        here = starts[first:last] - begin
        found[first:last] = mix((sums[ends[first:last] - begin] - sums[here]) * inverse[here])
        first = last
    return found


def codes_of(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Code points of all texts with a line end after each, and (n + 1,) where each begins."""
    joined = "\n".join([*texts, ""])
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1
    return codes, np.concatenate([[0], np.cumsum(lengths)])


def batches(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Texts in turn, about BATCH characters at once, with the number of the first."""
    first, size = 0, 0
    for number, text in enumerate(texts):
        if size and size + len(text) > BATCH:
            yield first, texts[first:number]
            first, size = number, 0
        size += len(text) + 1
    if first < len(texts):
        yield first, texts[first:]


@dataclass
class Words:
    """The words of some texts, one after another. A word is a run of letters, marks and digits, capital or not; in a script without spaces, a character."""

    hashes: np.ndarray
    """(W,) uint64."""
    starts: np.ndarray
    ends: np.ndarray
    """(W,) int64: the characters it begins with and ends before, in its own text."""
    bounds: np.ndarray
    """(n + 1,) int64: every text's first word."""
    alone: np.ndarray
    """(W,) bool: whether it is a character of a script without spaces."""

    @property
    def counts(self) -> np.ndarray:
        return np.diff(self.bounds)


def words_of(texts: Sequence[str], unit: str = "word") -> Words:
    """All words of some texts; with the unit `character` every letter, mark and digit is a word."""
    if any(len(text) > LONG for text in texts):
        return words_of_long(texts, unit)
    codes, bounds = codes_of(texts)
    values = np.take(letters(), codes)
    inside = values != 0
    if unit == "character" or (len(codes) and codes.max() >= UNSPACED[0][0]):
        alone = inside if unit == "character" else (values & np.uint64(1)).astype(bool)
        before = np.concatenate([[True], ~inside[:-1] | alone[:-1]])
        starts = np.flatnonzero(inside & (before | alone))
        after = np.concatenate([~inside[1:] | alone[1:], [True]])
        ends = np.flatnonzero(inside & (after | alone)) + 1
        by_itself = (values[starts] & np.uint64(1)).astype(bool)
    else:
        edges = np.flatnonzero(np.diff(inside, prepend=False))                             # in and out of words in turn: a line end is last
        starts, ends = edges[::2], edges[1::2]
        by_itself = np.zeros(len(starts), dtype=bool)
    hashes = stretches(values, starts, ends)
    places = np.searchsorted(starts, bounds)
    shift = np.repeat(bounds[:-1], np.diff(places))
    return Words(hashes, starts - shift, ends - shift, places, by_itself)


def words_of_long(texts: Sequence[str], unit: str) -> Words:
    """The same, long texts in pieces; a word is cut only if it is longer than half a piece."""
    owners, places, pieces = [], [], []
    for number, text in enumerate(texts):
        start = 0
        while start < len(text):
            end = min(len(text), start + LONG)
            if end < len(text):
                half = start + LONG // 2
                values = np.take(letters(), codes_of([text[half:end]])[0][:-1])
                apart = np.flatnonzero((values == 0) | (values & np.uint64(1) == 1))       # after these a word may begin
                end = half + int(apart[-1]) + 1 if len(apart) else end
            owners.append(number)
            places.append(start)
            pieces.append(text[start:end])
            start = end
    found = [words_of(some, unit) for _, some in batches(pieces)]
    counts = np.concatenate([words.counts for words in found])
    shift = np.repeat(np.array(places), counts)
    starts, ends, alone, hashes = (np.concatenate([getattr(words, name) for words in found]) for name in ("starts", "ends", "alone", "hashes"))
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owners, weights=counts, minlength=len(texts)).astype(np.int64))])
    return Words(hashes, starts + shift, ends + shift, bounds, alone)


def runs_of_words(words: Words, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes of all runs of so many words, the first word of each, and how many there are in every text.

    A text of fewer words, but one at least, has one run: all of them.
    """
    counts, bounds = words.counts, words.bounds
    whole = np.ones(len(words.hashes), dtype=bool)
    for back in range(1, length):
        short = bounds[1:] - back
        whole[short[short >= bounds[:-1]]] = False
    firsts = np.flatnonzero(whole)
    lasts = firsts + length
    few = (counts < length) & (counts > 0)
    if few.any():
        firsts = np.concatenate([firsts, bounds[:-1][few]])
        lasts = np.concatenate([lasts, bounds[1:][few]])
        order = np.argsort(firsts, kind="stable")
        firsts, lasts = firsts[order], lasts[order]
    return stretches(words.hashes, firsts, lasts), firsts, np.where(few, 1, np.maximum(counts - length + 1, 0))


def runs_of_characters(texts: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the runs of so many characters that begin at every character of the texts, and (n + 1,) where each text begins.

    A run that would go over the end of its text is 0.
    """
    codes, bounds = codes_of(texts)
    found = np.zeros(len(codes), dtype=np.uint64)
    starts = np.arange(max(0, len(codes) - length + 1))
    found[: len(starts)] = stretches(mix(codes.astype(np.uint64) + np.uint64(1)), starts, starts + length)
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        found[max(start, end - length) : end] = 0
    return found, bounds
