"""What can be counted in a document, each thing once: lines, words, letters, repetitions. All rule sets of `quality` read from here.

A word is a run of characters without white space, but every character of a script written without spaces (Han, kana) is a word by
itself, so the same counts serve English and Chinese. Words are found with numpy over code points and known by a 64-bit hash.

A gram of n words that stands twice is made of grams of n - 1 words that stand twice, so only these are looked at for the next n:
that is what makes ten sizes of gram cost little more than one.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SPACE, LETTER, SOLID, ALONE = 1, 2, 4, 8
"""What a character is: white space; a letter; neither space, punctuation, symbol nor control character; a word by itself."""
ASSIGNED = 0x34000
"""No code point from here on is a letter, a space or punctuation."""
UNSPACED = ((0x3005, 0x3008), (0x3040, 0x3100), (0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, ASSIGNED))
LONGEST = 4096
"""Characters of a word after which the weights of its hash come again."""
SENTENCE_END = re.compile(r"""[.!?]++["'”’)\]]*+(?=\s)|[。！？]++["'”’」』）]*+(?=.)""")


@functools.cache
def kinds_table() -> np.ndarray:
    """Code point → SPACE, LETTER, SOLID and ALONE, added up."""
    table = np.zeros(0x110000, dtype=np.uint8)
    table[:] = SOLID
    for code in range(ASSIGNED):
        character = chr(code)
        if character.isspace():
            table[code] = SPACE
        else:
            table[code] = LETTER * character.isalpha() + SOLID * (unicodedata.category(character)[0] not in "PSC")
    for first, last in UNSPACED:
        table[first:last] |= ALONE
    return table


@functools.cache
def weights() -> np.ndarray:
    """Odd random numbers that a word's characters are multiplied by and added up to its hash."""
    return np.random.default_rng(0).integers(1 << 63, size=LONGEST, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def codes_of(text: str) -> np.ndarray:
    """The code points, in the smallest type at hand."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def repeated(pieces: Sequence[str]) -> tuple[int, int]:
    """How many pieces equal an earlier one, and their characters."""
    distinct = set(pieces)
    return len(pieces) - len(distinct), sum(map(len, pieces)) - sum(map(len, distinct))


class Words(NamedTuple):
    """All words of a text, W of them: where each begins and ends, the kinds of its characters put together, its hash."""

    begin: np.ndarray
    end: np.ndarray
    kinds: np.ndarray
    hashes: np.ndarray


class Repeats(NamedTuple):
    """The grams of one size that occur more than once, and the commonest of all: its count and where it stands first."""

    positions: np.ndarray
    hashes: np.ndarray
    most: int
    first: int


class Measures:
    """Counts of one text, each worked out when first asked for."""

    def __init__(self, text: str):
        self.text = text
        self.grams: dict[int, Repeats] = {}

    # lines

    @functools.cached_property
    def lines(self) -> list[str]:
        """Lines with something in them, without the white space around them."""
        return [line for line in map(str.strip, self.text.splitlines()) if line]

    @functools.cached_property
    def all_lines(self) -> list[str]:
        return self.text.splitlines()

    @functools.cached_property
    def full_lines(self) -> list[str]:
        """Lines with something in them, as they are."""
        return [line for line in self.text.split("\n") if line and not line.isspace()]

    @functools.cached_property
    def paragraph_repeats(self) -> tuple[float, float]:
        """Shares of paragraphs that equal an earlier one, and of the text's characters in them."""
        pieces = [piece for part in self.text.strip().split("\n\n") if (piece := part.lstrip("\n"))]
        count, characters = repeated(pieces)
        return share(count, len(pieces)), share(characters, len(self.text))

    @functools.cached_property
    def line_repeats(self) -> tuple[float, float]:
        """The same of lines; an empty one before the first or behind the last line break counts."""
        pieces = [line for line in self.text.split("\n") if line] + [""] * (self.text.startswith("\n") + self.text.endswith("\n"))
        count, characters = repeated(pieces)
        return share(count, len(pieces)), share(characters, len(self.text))

    def repeated_lines(self, more_than: int = 10) -> float:
        """Share of lines that equal an earlier one; 0 for a text of few lines."""
        return 1 - len(set(self.lines)) / len(self.lines) if len(self.lines) > more_than else 0.0

    def repeated_characters(self) -> float:
        """Characters in lines that equal an earlier one, of all but line breaks."""
        return share(repeated(self.full_lines)[1], len(self.text) - self.text.count("\n"))

    def begin_with(self, marks: tuple[str, ...]) -> float:
        return share(sum(line.lstrip().startswith(marks) for line in self.all_lines), len(self.all_lines)) if any(mark in self.text for mark in marks) else 0.0

    def end_with(self, marks: tuple[str, ...]) -> float:
        return share(sum(line.rstrip().endswith(marks) for line in self.all_lines), len(self.all_lines)) if any(mark in self.text for mark in marks) else 0.0

    def ended_lines(self, marks: frozenset[str]) -> float:
        """Share of lines whose last character is one of `marks`."""
        return share(sum(line[-1] in marks for line in self.full_lines), len(self.full_lines))

    def short_lines(self, characters: int) -> float:
        return share(sum(len(line) <= characters for line in self.full_lines), len(self.full_lines))

    @functools.cached_property
    def sentences(self) -> int:
        """Ends of sentences inside lines, and lines."""
        return sum(1 + len(SENTENCE_END.findall(line)) for line in self.lines)

    # characters

    @functools.cached_property
    def codes(self) -> np.ndarray:
        return codes_of(self.text)

    @functools.cached_property
    def kinds(self) -> np.ndarray:
        return kinds_table()[self.codes]

    def letters(self) -> float:
        """Share of letters among the characters that are no white space."""
        return share(int(np.count_nonzero(self.kinds & LETTER)), len(self.kinds) - int(np.count_nonzero(self.kinds == SPACE)))

    # words

    @functools.cached_property
    def words(self) -> Words:
        kinds = self.kinds
        solid = kinds != SPACE
        first, last = solid.copy(), solid.copy()
        if self.text.isascii():
            first[1:] &= ~solid[:-1]
            last[:-1] &= ~solid[1:]
        else:
            alone = (kinds & ALONE).astype(bool)
            between = alone | ~solid
            first[1:] &= between[:-1] | alone[1:]
            last[:-1] &= between[1:] | alone[:-1]
        begin, end = first.nonzero()[0], last.nonzero()[0] + 1
        if not len(begin):
            return Words(begin, end, kinds[:0], np.empty(0, dtype=np.uint64))
        place = np.arange(begin[0], len(kinds))
        place -= np.repeat(begin, steps(begin, len(kinds)))
        terms = weights()[place if len(kinds) <= LONGEST else place % LONGEST]
        terms *= self.codes[begin[0] :] + np.uint64(1)
        terms *= solid[begin[0] :]
        return Words(begin, end, np.bitwise_or.reduceat(kinds, begin), np.add.reduceat(terms, begin - begin[0]))

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        return self.words.end - self.words.begin

    @functools.cached_property
    def before(self) -> np.ndarray:
        """Characters of all words before each, and of all."""
        return np.concatenate(([0], np.cumsum(self.lengths)))

    @functools.cached_property
    def solid_words(self) -> tuple[int, float]:
        """How many words hold more than punctuation, and their mean length."""
        chosen = (self.words.kinds & SOLID).astype(bool)
        count = int(np.count_nonzero(chosen))
        return count, share(int(self.lengths[chosen].sum()), count)

    def alphabetic_words(self) -> float:
        return share(int(np.count_nonzero(self.words.kinds & LETTER)), len(self.words.begin))

    def per_word(self, marks: Sequence[str]) -> float:
        """How often any of `marks` stands in the text, by word."""
        return share(sum(self.text.count(mark) for mark in marks), len(self.words.begin))

    def found(self, words: Sequence[str]) -> int:
        """How many of these words occur."""
        return int((hashes_of(tuple(words))[:, None] == self.words.hashes).any(1).sum())

    # grams

    def gram_hashes(self, size: int) -> np.ndarray:
        """The hash of every gram of `size` words."""
        hashes, count = self.words.hashes, max(0, len(self.words.begin) - size + 1)
        found = np.zeros(count, dtype=np.uint64)
        for i in range(size):
            found += hashes[i : i + count] * weights()[i]
        return found

    def repeats(self, size: int) -> Repeats:
        """Grams of `size` words that occur more than once, found among those of size - 1 where these are known."""
        if size not in self.grams:
            hashes, count = self.words.hashes, len(self.words.begin) - size + 1
            if size - 1 in self.grams:
                known = self.grams[size - 1]
                inside = known.positions < count
                positions = known.positions[inside]
                grams = known.hashes[inside] + hashes[positions + size - 1] * weights()[size - 1]
            else:
                positions, grams = np.arange(max(0, count)), self.gram_hashes(size)
            self.grams[size] = grouped(positions, grams)
        return self.grams[size]

    def top_gram(self, size: int) -> float:
        """Characters of the commonest gram times its count, of all; among equally common ones the first counts."""
        if len(self.words.begin) < size:
            return 0.0
        found = self.repeats(size)
        begin, end = self.words.begin[found.first : found.first + size], self.words.end[found.first : found.first + size]
        spaces = np.count_nonzero(begin[1:] > end[:-1])
        return share(found.most * (int((end - begin).sum()) + int(spaces)), len(self.text))

    def duplicate_grams(self, size: int) -> float:
        """Share of characters in grams that equal an earlier one, reading on behind each that does."""
        found, total, free, seen = self.repeats(size), 0, 0, set[int]()
        if not len(found.positions):
            return 0.0
        spans = self.before[found.positions + size] - self.before[found.positions]
        for position, gram, span in zip(found.positions.tolist(), found.hashes.tolist(), spans.tolist(), strict=True):
            if position >= free:
                if gram in seen:
                    total, free = total + span, position + size
                else:
                    seen.add(gram)
        return share(total, len(self.text))


def steps(starts: np.ndarray, end: int) -> np.ndarray:
    """From each start to the next, from the last to the end."""
    found = np.empty(len(starts), dtype=np.int64)
    np.subtract(starts[1:], starts[:-1], out=found[:-1])
    found[-1] = end - starts[-1]
    return found


def grouped(positions: np.ndarray, hashes: np.ndarray) -> Repeats:
    """Those that are not alone, in order, and the commonest."""
    if not len(hashes):
        return Repeats(positions, hashes, 1, 0)
    order = np.argsort(hashes)
    ordered = hashes[order]
    new = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    starts = new.nonzero()[0]
    counts = steps(starts, len(ordered))
    most = int(counts.max())
    if most == 1:
        return Repeats(positions[:0], hashes[:0], 1, 0)
    chosen = np.sort(order[np.repeat(counts > 1, counts)])
    first = int(positions[np.minimum.reduceat(order, starts)[counts == most].min()])
    return Repeats(positions[chosen], hashes[chosen], most, first)


@functools.lru_cache(64)
def hashes_of(words: tuple[str, ...]) -> np.ndarray:
    """The hashes of single words."""
    return np.concatenate([Measures(word).words.hashes for word in words]) if words else np.empty(0, dtype=np.uint64)
