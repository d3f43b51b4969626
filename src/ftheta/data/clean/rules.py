"""Cleaning of text documents: characters made regular, documents that are no prose or code dropped."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from ftheta.core.config import Config
from ftheta.data.documents import Document, Fact

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Verdict(NamedTuple):
    """The cleaned text, or None and why the document was dropped; and what was found on the way."""

    text: str | None
    reason: str = ""
    facts: Mapping[str, Fact] = {}
    """What was found out about the document, which goes on with it: a language, a score."""
    counts: Mapping[str, int] = {}
    """How often something was found or changed, summed in the account: e-mail addresses, lines taken out."""


class Rule(Config, ABC):
    """A pure function of one document."""

    @abstractmethod
    def apply(self, document: Document) -> Verdict: ...


def judge(document: Document, rules: Sequence[Rule]) -> Verdict:
    """Every rule in turn, until one drops the document; what all of them found. A document that is left with no text is dropped as empty."""
    facts, counts = dict(document.facts), Counter[str]()
    for rule in rules:
        verdict = rule.apply(document)
        facts |= verdict.facts
        counts.update(verdict.counts)
        if verdict.text is None:
            return Verdict(None, verdict.reason, facts, counts)
        document = Document(document.name, verdict.text, facts)
    return Verdict(document.text, "", facts, counts) if document.text.strip() else Verdict(None, "empty", facts, counts)


class Normalise(Rule):
    """Line ends become \\n, characters their composed form (NFC), control characters other than tab and newline go."""

    kind: Literal["normalise"] = "normalise"
    form: Literal["NFC", "NFKC"] = "NFC"
    """Unicode normal form; NFKC also folds full-width letters and ligatures."""

    def apply(self, document: Document) -> Verdict:
        text = document.text.replace("\r\n", "\n").replace("\r", "\n")
        return Verdict(CONTROL.sub("", unicodedata.normalize(self.form, text)))


class Quality(Rule):
    """Drop documents that are too short, or mostly one repeated line, or (rules: text) hardly letters."""

    kind: Literal["quality"] = "quality"
    rules: Literal["text", "code"] = "text"
    """Which thresholds: running text or source code."""
    shortest: int = Field(default=16, ge=0)
    """Characters; shorter documents are dropped."""
    repeated: float = Field(default=0.5, gt=0, le=1)
    """Largest share of non-empty lines that may equal an earlier one."""

    def apply(self, document: Document) -> Verdict:
        text = document.text
        if len(text.strip()) < self.shortest:
            return Verdict(None, "too short")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if len(lines) > 10 and 1 - len(set(lines)) / len(lines) > self.repeated:
            return Verdict(None, "repeated lines")
        if self.rules == "text" and sum(c.isalpha() for c in text) < 0.5 * sum(not c.isspace() for c in text):
            return Verdict(None, "hardly letters")
        return Verdict(text)
