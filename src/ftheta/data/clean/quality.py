"""Quality by counting: a document is dropped when one of its measures is outside what a set of rules allows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Literal, NamedTuple

from pydantic import Field, field_validator, model_validator
from ruamel.yaml import YAML

from ftheta.core.config import Config
from ftheta.data.clean.measures import Measures
from ftheta.data.clean.rules import Rule, Verdict
from ftheta.data.documents import Document

Bounds = tuple[float | None, float | None] | None
"""The least and the most that is allowed, either may be null."""
SETS = Literal[
    "text", "code", "gopher", "gopher_repetition", "c4", "fineweb", "gopher_chinese", "gopher_repetition_chinese", "c4_chinese", "fineweb_chinese",
]


class Thresholds(Config):
    """What the measures of a document may be. One that is left out is not looked at; `[null, null]` turns one of a set off."""

    characters: Bounds = None
    """Characters, without white space around the text."""
    letters: Bounds = None
    """Share of letters among the characters that are no white space."""
    repeated_lines: Bounds = None
    """Share of non-empty lines that equal an earlier one, in documents of more than 10 lines."""
    forbidden: tuple[str, ...] | None = None
    """A document that contains one of these is dropped; capitals do not matter."""
    words: Bounds = None
    """Words that are more than punctuation; every Han character and kana is a word."""
    mean_word_length: Bounds = None
    """Their mean length in characters."""
    hashes_per_word: Bounds = None
    """How often # stands in the text, by word."""
    ellipses_per_word: Bounds = None
    """How often ... or … stands in the text, by word."""
    bullet_lines: Bounds = None
    """Share of lines that begin with one of `bullets`."""
    bullets: tuple[str, ...] | None = None
    """What a line of a list begins with."""
    ellipsis_lines: Bounds = None
    """Share of lines that end with ... or …."""
    alphabetic_words: Bounds = None
    """Share of words that hold a letter."""
    stop_words: Bounds = None
    """How many different words of `stop_list` occur."""
    stop_list: tuple[str, ...] | None = None
    """Words that running text always has."""
    ended_lines: Bounds = None
    """Share of lines that end with one of the characters of `ends`."""
    ends: str | None = Field(default=None, min_length=1)
    """Characters that end a sentence."""
    short_lines: Bounds = None
    """Share of lines of at most `short` characters."""
    short: int | None = Field(default=None, ge=0)
    """Characters of a short line."""
    repeated_characters: Bounds = None
    """Share of characters in lines that equal an earlier one."""
    newlines_per_word: Bounds = None
    """Line breaks by word."""
    sentences: Bounds = None
    """Sentences; a line that ends without a mark is one."""
    duplicate_lines: Bounds = None
    """Share of lines that equal an earlier one, of texts with few lines too."""
    duplicate_line_characters: Bounds = None
    """Share of the text's characters in such lines."""
    duplicate_paragraphs: Bounds = None
    """Share of paragraphs (an empty line between) that equal an earlier one."""
    duplicate_paragraph_characters: Bounds = None
    """Share of the text's characters in such paragraphs."""
    top_ngrams: dict[int, float] | None = None
    """By n: the largest share of characters in the commonest run of n words."""
    duplicate_ngrams: dict[int, float] | None = None
    """By n: the largest share of characters in runs of n words that equal an earlier one."""

    @field_validator("*")
    @classmethod
    def in_order(cls, value: object) -> object:
        if isinstance(value, tuple) and len(value) == 2:
            least, most = value
            if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
                raise ValueError(f"expected [least, most], got [{least}, {most}]")
        return value

    @field_validator("top_ngrams", "duplicate_ngrams")
    @classmethod
    def sizes(cls, value: dict[int, float] | None) -> dict[int, float] | None:
        if value and min(value) < 1:
            raise ValueError(f"expected sizes of 1 word at least, got {min(value)}")
        return value


def enough(bounds: Bounds) -> float:
    """From which value on it does not matter how much more it is."""
    least, most = bounds or (None, None)
    return least if least is not None and most is None else float("inf")


MEASURES: dict[str, Callable[[Measures, Thresholds], float]] = {
    "characters": lambda m, t: len(m.text.strip()),
    "letters": lambda m, t: m.letters(),
    "repeated_lines": lambda m, t: m.repeated_lines(),
    "words": lambda m, t: m.solid_words[0],
    "mean_word_length": lambda m, t: m.solid_words[1],
    "hashes_per_word": lambda m, t: m.per_word(("#",)),
    "ellipses_per_word": lambda m, t: m.per_word(("...", "…")),
    "bullet_lines": lambda m, t: m.begin_with(t.bullets or ()),
    "ellipsis_lines": lambda m, t: m.end_with(("...", "…")),
    "alphabetic_words": lambda m, t: m.alphabetic_words(),
    "stop_words": lambda m, t: m.found(t.stop_list or (), enough(t.stop_words)),
    "ended_lines": lambda m, t: m.ended_lines(frozenset(t.ends or "")),
    "short_lines": lambda m, t: m.short_lines(t.short or 0),
    "repeated_characters": lambda m, t: m.repeated_characters(),
    "newlines_per_word": lambda m, t: m.per_word(("\n",)),
    "sentences": lambda m, t: m.sentences,
    "duplicate_paragraphs": lambda m, t: m.paragraph_repeats[0],
    "duplicate_paragraph_characters": lambda m, t: m.paragraph_repeats[1],
    "duplicate_lines": lambda m, t: m.line_repeats[0],
    "duplicate_line_characters": lambda m, t: m.line_repeats[1],
}
"""Every measure that has bounds, in the order in which they are looked at: what costs little first."""


class Found(NamedTuple):
    """The first threshold that a document does not keep."""

    measure: str
    why: str


class Check(NamedTuple):
    """One thing to look at: a measure and its bounds."""

    name: str
    measure: Callable[[Measures], float]
    least: float | None
    most: float | None


def checks(thresholds: Thresholds) -> list[Check]:
    """All that a set asks, in order."""
    found = []
    for name, measure in MEASURES.items():
        least, most = getattr(thresholds, name) or (None, None)
        if least is not None or most is not None:
            found.append(Check(name.replace("_", " "), lambda m, measure=measure: measure(m, thresholds), least, most))
    for size, most in sorted((thresholds.top_ngrams or {}).items()):
        found.append(Check(f"top {size}-grams", lambda m, size=size, most=most: m.top_gram(size, most), None, most))
    for size, most in sorted((thresholds.duplicate_ngrams or {}).items()):
        found.append(Check(f"duplicate {size}-grams", lambda m, size=size, most=most: m.duplicate_grams(size, most), None, most))
    return found


def broken(measures: Measures, phrases: tuple[str, ...], asked: list[Check]) -> Found | None:
    """The first threshold that is not kept."""
    if phrases:
        lower = measures.text.lower()
        for phrase in phrases:
            if phrase.lower() in lower:
                return Found("forbidden", f"it contains '{phrase}'")
    for check in asked:
        value = check.measure(measures)
        if check.least is not None and value < check.least:
            return Found(check.name, f"{check.name} {value:.4g} < {check.least:g}")
        if check.most is not None and value > check.most:
            return Found(check.name, f"{check.name} {value:.4g} > {check.most:g}")
    return None


@functools.cache
def rule_set(name: str) -> Thresholds:
    """The thresholds of a named set, from `sets/NAME.yaml`."""
    text = resources.files("ftheta.data.clean").joinpath(f"sets/{name}.yaml").read_text(encoding="utf-8")
    return Thresholds.parse(YAML(typ="safe", pure=True).load(text), f"{name}.yaml")


class Quality(Thresholds, Rule):
    """Drop documents that a set of rules, or several, finds to be no running text (or code).

    `text` and `code` ask little: some length, no line again and again, letters. `gopher` and `gopher_repetition` are Table A1 of Rae et al. 2021
    (arXiv:2112.11446), `c4` Raffel et al. 2020 (arXiv:1910.10683; with `lines`), `fineweb` Penedo et al. 2024 (arXiv:2406.17557); `..._chinese` count
    characters for words. Every threshold can be given here too: it replaces that of every set that has it, or is asked besides.
    """

    kind: Literal["quality"] = "quality"
    rules: SETS | tuple[SETS, ...] = "text"
    """Which set of thresholds, or several, each in turn."""

    @model_validator(mode="after")
    def whole(self) -> Quality:
        for name, thresholds in self.sets():
            for measure, needed in {"bullet_lines": "bullets", "stop_words": "stop_list", "ended_lines": "ends", "short_lines": "short"}.items():
                if getattr(thresholds, measure) and getattr(thresholds, needed) is None:
                    raise ValueError(f"'{measure}' needs '{needed}', which the rules '{name}' do not have")
        return self

    def sets(self) -> Iterator[tuple[str, Thresholds]]:
        """The name and the thresholds of every set, with what is given here."""
        given = {name: value for name in Thresholds.model_fields if (value := getattr(self, name)) not in (None, ()) and name != "kind"}
        names = self.rules if isinstance(self.rules, tuple) else (self.rules,)
        of_sets = {name: rule_set(name) for name in names}
        for name, thresholds in of_sets.items():
            yield name, thresholds.model_copy(update={key: value for key, value in given.items() if getattr(thresholds, key) is not None})
        more = {key: value for key, value in given.items() if all(getattr(thresholds, key) is None for thresholds in of_sets.values())}
        if more:
            yield "own", Thresholds().model_copy(update=more)

    @functools.cached_property
    def asked(self) -> list[tuple[str, tuple[str, ...], list[Check]]]:
        return [(name, thresholds.forbidden or (), checks(thresholds)) for name, thresholds in self.sets()]

    def apply(self, document: Document) -> Verdict:
        measures = Measures(document.text)
        for name, phrases, asked in self.asked:
            if found := broken(measures, phrases, asked):
                return Verdict(None, f"{name} {found.measure}", {"why": found.why})
        return Verdict(document.text)
