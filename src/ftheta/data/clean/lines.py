"""Lines that are no part of what a page says: menus, notices about cookies, calls to switch JavaScript on, footers."""

from __future__ import annotations

import functools
import re
from collections import Counter
from importlib import resources
from typing import Literal

from pydantic import Field
from ruamel.yaml import YAML

from ftheta.core.config import Config
from ftheta.data.clean.rules import Rule, Verdict
from ftheta.data.documents import Document

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
LINE_SETS = Literal["none", "boilerplate", "c4", "c4_chinese"]


class LineThresholds(Config):
    """What a line must be. What is left out is not looked at."""

    longest_word: int | None = Field(default=None, gt=0)
    """Characters of the longest word (between white space) a line may have."""
    citations: bool | None = None
    """Whether marks such as [3], [edit] and [citation needed] are taken out first."""
    ends: str | None = None
    """Characters one of which a line must end with; ... is no end."""
    fewest_words: int | None = Field(default=None, ge=0)
    """Words (between white space) a line must have."""
    fewest_characters: int | None = Field(default=None, ge=0)
    """Characters a line must have."""
    phrases: dict[str, Literal["line", "document"]] | None = None
    """What the first of these that a line contains does to it: the line is taken out, or the whole document. Capitals do not matter."""


@functools.cache
def line_set(name: str) -> LineThresholds:
    """A named set, from `sets/lines_NAME.yaml`."""
    text = resources.files("ftheta.data.clean").joinpath(f"sets/lines_{name}.yaml").read_text(encoding="utf-8")
    return LineThresholds.parse(YAML(typ="safe", pure=True).load(text), f"lines_{name}.yaml")


class Lines(LineThresholds, Rule):
    """Take lines out that are no running text, and count them; the rest lose the white space around them.

    `c4` is what Raffel et al. 2020 (arXiv:1910.10683, section 2.2) ask of lines, `c4_chinese` the same of Chinese ones, `boilerplate` only the phrases of
    notices and footers in both languages. What is given here replaces that of the set; put `{kind: quality, rules: c4}` after it.
    """

    kind: Literal["lines"] = "lines"
    rules: LINE_SETS = "c4"
    """Which set of thresholds."""

    @functools.cached_property
    def asked(self) -> LineThresholds:
        given = {name: value for name in LineThresholds.model_fields if (value := getattr(self, name)) is not None}
        return (LineThresholds() if self.rules == "none" else line_set(self.rules)).model_copy(update=given)

    def apply(self, document: Document) -> Verdict:
        asked, counts, kept = self.asked, Counter[str](), list[str]()
        lower = document.text.lower()
        phrases = {phrase: effect for phrase, effect in (asked.phrases or {}).items() if phrase.lower() in lower}
        for line in map(str.strip, document.text.splitlines()):
            if not line:
                kept.append(line)
                continue
            words, line = line, CITATION.sub("", line) if asked.citations and "[" in line else line
            why = misfit(words, line, asked)
            if not why and phrases:
                lower = line.lower()
                phrase = next((phrase for phrase in phrases if phrase.lower() in lower), None)
                if phrase is not None and phrases[phrase] == "document":
                    return Verdict(None, f"lines {self.rules} forbidden", {"why": f"a line contains '{phrase}'"})
                why = "boilerplate lines" if phrase is not None else ""
            if why:
                counts[why] += 1
            else:
                kept.append(line)
        if asked.ends or asked.fewest_words or asked.fewest_characters:
            kept = [line for line in kept if line]
        return Verdict("\n".join(kept).strip(), counts=counts)


def misfit(words: str, line: str, asked: LineThresholds) -> str:
    """By which threshold a line goes; `words` is the line with its citations."""
    if asked.longest_word and len(words) > asked.longest_word and any(len(word) > asked.longest_word for word in words.split()):
        return "lines with an endless word"
    if asked.ends and (not line or line[-1] not in asked.ends or line.endswith("...")):
        return "lines without an end"
    if asked.fewest_words and len(words.split(None, asked.fewest_words - 1)) < asked.fewest_words:
        return "short lines"
    return "short lines" if asked.fewest_characters and len(line) < asked.fewest_characters else ""
