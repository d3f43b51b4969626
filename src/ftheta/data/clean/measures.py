"""What can be counted in a document, each thing once: lines, words, letters, repetitions. All rule sets of `quality` read from here.

A word is a run of characters without white space, but every character of a script written without spaces (Han, kana) is a word by
itself, so the same counts serve English and Chinese. Words are found with numpy over code points and known by a 64-bit hash.

A gram of n words that stands twice is made of grams of n - 1 words that stand twice, so only these are looked at for the next n:
that is what makes ten sizes of gram cost little more than one. How often the commonest gram can stand at most is seen from how hashes
crowd, so that most texts are found to keep a limit without looking for their small grams at all.
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
LONGEST = 1 << 16
"""Characters of a text up to which hashes of words come from one running sum, and of a word after which the weights of its hash come again."""
BASE = 0x9E3779B97F4A7C15
"""Odd, so that its powers modulo 2⁶⁴ have inverses."""
SENTENCE_END = re.compile(r"""[.!?](?<![.!?]{2})[.!?]*+["'”’)\]]*+(?=[ \t\xa0]++\S)""")
WIDE_SENTENCE_END = re.compile(r"""[。！？](?<![。！？]{2})[。！？]*+["'”’」』）]*+(?=[ \t\u3000]*+\S)""")
"""Marks that end a sentence where the line goes on; looked at from the first of a run only, which keeps the time linear."""


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
def ascii_kinds() -> bytes:
    """The same of every byte, for `bytes.translate`."""
    return kinds_table()[:256].tobytes()


@functools.cache
def powers() -> tuple[np.ndarray, np.ndarray]:
    """BASE^i and BASE^-i modulo 2⁶⁴: what the characters of a word are multiplied by, and what brings a word to the place 0."""
    bases = np.full((2, LONGEST), BASE, dtype=np.uint64)
    bases[1] = pow(BASE, -1, 1 << 64)
    bases[:, 0] = 1
    forth, back = np.cumprod(bases, axis=1)
    return forth, back


@functools.cache
def factors() -> np.ndarray:
    """Odd random numbers that the words of a gram are multiplied by."""
    return np.random.default_rng(0).integers(1 << 63, size=1024, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


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
    again = len(pieces) - len(distinct)
    return again, sum(map(len, pieces)) - sum(map(len, distinct)) if again else 0


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
        self.cover: dict[int, float] = {}

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
        return share(sum([line.lstrip().startswith(marks) for line in self.all_lines]), len(self.all_lines)) if any(mark in self.text for mark in marks) else 0.0

    def end_with(self, marks: tuple[str, ...]) -> float:
        return share(sum([line.rstrip().endswith(marks) for line in self.all_lines]), len(self.all_lines)) if any(mark in self.text for mark in marks) else 0.0

    def ended_lines(self, marks: frozenset[str]) -> float:
        """Share of lines whose last character is one of `marks`."""
        return share(sum([line[-1] in marks for line in self.full_lines]), len(self.full_lines))

    def short_lines(self, characters: int) -> float:
        return share(sum([len(line) <= characters for line in self.full_lines]), len(self.full_lines))

    @functools.cached_property
    def sentences(self) -> int:
        """Ends of sentences inside lines, and lines."""
        wide = 0 if self.text.isascii() else len(WIDE_SENTENCE_END.findall(self.text))
        return len(self.lines) + len(SENTENCE_END.findall(self.text)) + wide

    # characters

    @functools.cached_property
    def codes(self) -> np.ndarray:
        return codes_of(self.text)

    @functools.cached_property
    def kinds(self) -> np.ndarray:
        if self.text.isascii():
            return np.frombuffer(self.text.encode("ascii").translate(ascii_kinds()), dtype=np.uint8)
        return kinds_table().take(self.codes)

    def letters(self) -> float:
        """Share of letters among the characters that are no white space."""
        return share(int(np.count_nonzero(self.kinds & LETTER)), len(self.kinds) - int(np.count_nonzero(self.kinds == SPACE)))

    # words

    @functools.cached_property
    def borders(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether each character is the first of a word, and whether it is the last."""
        solid = self.kinds != SPACE
        first, last = solid.copy(), solid.copy()
        if self.text.isascii():
            np.greater(solid[1:], solid[:-1], out=first[1:])
            np.greater(solid[:-1], solid[1:], out=last[:-1])
        else:
            alone = (self.kinds & ALONE).astype(bool)
            between = alone | ~solid
            first[1:] &= between[:-1] | alone[1:]
            last[:-1] &= between[1:] | alone[:-1]
        return first, last

    @functools.cached_property
    def count(self) -> int:
        """How many words there are, W."""
        return int(np.count_nonzero(self.borders[0]))

    @functools.cached_property
    def begin(self) -> np.ndarray:
        """(W,) where each word begins."""
        return self.borders[0].nonzero()[0]

    @functools.cached_property
    def end(self) -> np.ndarray:
        """(W,) the place behind each word."""
        return self.borders[1].nonzero()[0] + 1

    @functools.cached_property
    def word_kinds(self) -> np.ndarray:
        """(W,) the kinds of each word's characters put together."""
        found = self.kinds[self.begin]
        open_ = np.flatnonzero(found & (LETTER | SOLID) != LETTER | SOLID)                # a word that begins with a letter has all kinds already
        if len(open_):
            between = np.stack([self.begin[open_], self.end[open_]], axis=1).ravel()
            within = between[:-1] if between[-1] == len(self.kinds) else between
            found[open_] = np.bitwise_or.reduceat(self.kinds, within)[::2]
        return found

    @functools.cached_property
    def hashes(self) -> np.ndarray:
        """(W,) the sum of (code + 1) · BASE^place over the characters of each word, modulo 2⁶⁴."""
        if not self.count:
            return np.empty(0, dtype=np.uint64)
        forth, back = powers()
        if len(self.codes) < LONGEST:
            sums = np.empty(len(self.codes) + 1, dtype=np.uint64)
            sums[0] = 0
            sums[1:] = self.codes
            sums[1:] += np.uint64(1)
            sums[1:] *= forth[: len(self.codes)]
            np.cumsum(sums, out=sums)
            return (sums[self.end] - sums[self.begin]) * back[self.begin]
        starts = self.begin - self.begin[0]
        codes = self.codes[self.begin[0] :] + np.uint64(1)
        place = np.arange(len(codes)) - np.repeat(starts, steps(starts, len(codes)))
        codes *= forth[place % LONGEST]
        codes *= self.kinds[self.begin[0] :] != SPACE
        return np.add.reduceat(codes, starts)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        return self.end - self.begin

    @functools.cached_property
    def before(self) -> np.ndarray:
        """(W + 1,) characters of all words before each, and of all."""
        return np.concatenate(([0], np.cumsum(self.lengths)))

    @functools.cached_property
    def solid_words(self) -> tuple[int, float]:
        """How many words hold more than punctuation, and their mean length."""
        chosen = (self.word_kinds & SOLID).astype(bool)
        count = int(np.count_nonzero(chosen))
        return count, share(int(self.lengths[chosen].sum()), count)

    def alphabetic_words(self) -> float:
        return share(int(np.count_nonzero(self.word_kinds & LETTER)), self.count)

    def per_word(self, marks: Sequence[str]) -> float:
        """How often any of `marks` stands in the text, by word."""
        return share(sum(self.text.count(mark) for mark in marks), self.count)

    def found(self, words: Sequence[str], enough: float = float("inf")) -> int:
        """How many of these words occur; counting may stop at `enough`. A word between spaces, or one without any around it, is seen at a glance."""
        seen = 0
        for word in words:
            seen += f" {word} " in self.text or (len(word) == 1 and word in self.text and bool(kinds_table()[ord(word)] & ALONE))
            if seen >= enough:
                return seen
        return int((hashes_of(tuple(words))[:, None] == self.hashes).any(1).sum())

    # grams

    def gram_hashes(self, size: int) -> np.ndarray:
        """The hash of every gram of `size` words."""
        hashes, count = self.hashes, max(0, self.count - size + 1)
        found = np.zeros(count, dtype=np.uint64)
        for i in range(size):
            found += hashes[i : i + count] * factors()[i % len(factors())]
        return found

    def repeats(self, size: int) -> Repeats:
        """Grams of `size` words that occur more than once, found among those of the next smaller size that is known."""
        if size not in self.grams:
            if smaller := self.known_below(size):
                known = self.grams[smaller]
                inside = known.positions <= self.count - size
                positions, grams = known.positions[inside], known.hashes[inside]
                for i in range(smaller, size if len(positions) else 0):
                    grams += self.hashes[positions + i] * factors()[i % len(factors())]
            else:
                grams = self.gram_hashes(size)
                positions = np.arange(len(grams))
            self.grams[size] = grouped(positions, grams)
        return self.grams[size]

    def known_below(self, size: int) -> int:
        """The largest size up to this one whose repeats are known; 0 if none is."""
        return max((known for known in self.grams if known <= size), default=0)

    @functools.cached_property
    def crowd(self) -> int:
        """No pair of words stands more often than this: how many share the first bits of their hashes, which is known without sorting them."""
        return int(np.bincount((self.gram_hashes(2) >> np.uint64(52)).view(np.int64)).max(initial=0))

    def top_gram(self, size: int, limit: float = -1.0) -> float:
        """Characters of the commonest gram times its count, of all; among equally common ones the first counts.

        Where it is at most `limit`, an upper bound of it may be given instead, if that is at most `limit` too: no gram is commoner than the commonest
        smaller one, or longer than the longest.
        """
        if self.count < size:
            return 0.0
        known = self.known_below(size)
        if limit >= 0 and known < size > 1:
            most = self.grams[known].most if known else self.crowd
            bound = share(most * (int((self.before[size:] - self.before[:-size]).max()) + size - 1), len(self.text))
            if bound <= limit:
                return bound
        found = self.repeats(size)
        begin, end = self.begin[found.first : found.first + size], self.end[found.first : found.first + size]
        spaces = np.count_nonzero(begin[1:] > end[:-1])
        return share(found.most * (int((end - begin).sum()) + int(spaces)), len(self.text))

    def covered(self, size: int) -> float:
        """Share of the characters that stand in a gram of `size` words which occurs more than once, each counted once."""
        if size not in self.cover:
            depth = np.zeros(self.count + 1, dtype=np.int32)
            positions = self.repeats(size).positions
            depth[positions] += 1
            depth[positions + size] -= 1
            self.cover[size] = share(int(self.lengths[depth.cumsum()[:-1] > 0].sum()), len(self.text)) if len(positions) else 0.0
        return self.cover[size]

    def duplicate_grams(self, size: int, limit: float = -1.0) -> float:
        """Share of characters in grams that equal an earlier one, reading on behind each that does.

        Where it is at most `limit`, an upper bound of it may be given instead: what stands in repeated grams of this or a smaller size.
        """
        for known in dict.fromkeys((self.known_below(size) or size, size)):
            if limit >= 0 and (bound := self.covered(known)) <= limit:
                return bound
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
    """Those that are not alone, in order, and the commonest. Numbers are sorted that begin with a hash's upper bits and end with its place."""
    low = np.uint64(len(hashes).bit_length())
    keys = hashes >> low
    keys <<= low
    keys += np.arange(len(keys), dtype=np.uint64)
    keys.sort()
    upper = keys >> low
    same = np.flatnonzero(upper[1:] == upper[:-1])                                        # a key that equals the next
    if not len(same):
        return Repeats(positions[:0], hashes[:0], 1, 0)
    places = (keys & ((np.uint64(1) << low) - np.uint64(1))).view(np.int64)
    starts = np.concatenate(([0], np.flatnonzero(same[1:] != same[:-1] + 1) + 1))
    counts = steps(starts, len(same)) + 1
    most = int(counts.max())
    chosen = np.zeros(len(keys), dtype=bool)
    chosen[places[same]] = True
    chosen[places[same + 1]] = True
    kept = np.flatnonzero(chosen)
    return Repeats(positions[kept], hashes[kept], most, int(positions[places[same[starts[counts == most]]].min()]))


@functools.lru_cache(64)
def hashes_of(words: tuple[str, ...]) -> np.ndarray:
    """The hashes of single words."""
    return np.concatenate([Measures(word).hashes for word in words]) if words else np.empty(0, dtype=np.uint64)
