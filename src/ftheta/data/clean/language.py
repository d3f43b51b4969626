"""Which language a text is in, and whether it is a programming language.

Han characters without kana are Chinese, with kana Japanese, Hangul is Korean: that is counted. All else is told by py3langid, a naive Bayes classifier
of byte n-grams (Lui and Baldwin 2012, ACL demo; 140 languages), from the beginning, the middle and the end of a long text.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from ftheta.core.errors import ConfigError, MissingExtraError, Problem, suggest
from ftheta.data.clean.measures import LETTER, codes_of, kinds_table
from ftheta.data.clean.rules import Rule, Verdict
from ftheta.data.documents import Document

UNKNOWN = "und"
"""ISO 639's code for a language that could not be told."""
CODE = "code"
IDEOGRAPH = 3
"""Letters that a Han character is worth when a text mixes scripts."""
ENDINGS = {
    ".c": "c", ".cc": "c++", ".cpp": "c++", ".cs": "c#", ".css": "css", ".go": "go", ".h": "c", ".hpp": "c++", ".java": "java",
    ".jl": "julia", ".js": "javascript", ".kt": "kotlin", ".lua": "lua", ".php": "php", ".pl": "perl", ".py": "python", ".pyi": "python", ".r": "r",
    ".rb": "ruby", ".rs": "rust", ".scala": "scala", ".sh": "shell", ".sql": "sql", ".swift": "swift", ".ts": "typescript", ".tsx": "typescript",
}
"""Endings of files that hold a programming language."""
STATEMENT = re.compile(
    r"""[ \t]*(?:
        (?:def|class|elif|else|except|raise|assert|yield|with|while|for|if|async|await|del)\b.*[:,(\[{\\]$
      | (?:pass|continue|break|else:|try:|finally:|return)[ \t]*$ | (?<=[ \t])[#][ ].* | ["]{3}.* | (?:raise|del|assert|await)[ ].*[)\w]$
      | (?:import|from)[ ][\w.]+(?:[ ]import\b.*|[ ]as\b.*)?$ | return\b[^.]*$ | [#]include\b.* | [#]define\b.* | (?:@|//|/\*|\*/)[ \w].*
      | (?:public|private|protected|static|const|let|var|function|fn|func|void|int|use|package|namespace|struct|enum|interface)\b.*[;{(,]$
      | [\w.\[\]'"]+(?:,[ ][\w.]+)*[ ]?(?:=|\+=|-=|:=)[ ]?[^ =].* | [\w.]+\(.*[),;(]+:?$ | .*[;{}]$ | [)\]}]+[,;)]*$
    )""", re.VERBOSE,
)
"""A line that is a statement of some programming language."""


@functools.cache
def identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError:
        raise MissingExtraError("py3langid", "data", "cleaning with 'language'") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language_of(text: str, sample: int = 1000) -> tuple[str, float]:
    """The ISO 639 code of the language and how sure that is (0 to 1); `und` for a text without letters."""
    codes = codes_of(sampled(text, sample))
    letters = int(np.count_nonzero(kinds_table()[codes] & LETTER))
    if not letters:
        return UNKNOWN, 0.0
    kana, hangul = between(codes, 0x3040, 0x3100), between(codes, 0xAC00, 0xD7A4)
    han = between(codes, 0x3400, 0xA000) + between(codes, 0x20000, 0x34000)
    weight = letters + (IDEOGRAPH - 1) * han
    for language, found in (("ja", IDEOGRAPH * han + kana if kana > 0.1 * han else 0), ("ko", hangul), ("zh", IDEOGRAPH * han if kana <= 0.1 * han else 0)):
        if found > 0.5 * weight:
            return language, round(found / weight, 4)
    found, score = identifier().classify(sampled(text, sample))
    return found, round(score, 4)


def sampled(text: str, sample: int) -> str:
    """The text, or of a long one three pieces: its beginning, middle and end."""
    if len(text) <= sample:
        return text
    third = max(1, sample // 3)
    return "\n".join(text[start : start + third] for start in (0, (len(text) - third) // 2, len(text) - third))


def between(codes: np.ndarray, first: int, last: int) -> int:
    return int(np.count_nonzero((codes >= first) & (codes < last)))


def looks_like_code(text: str, share: float = 0.35, lines: int = 400) -> bool:
    """Whether this share of lines are statements of a programming language; the first lines decide."""
    shown = [line for line in text[: 80 * lines].splitlines()[:lines] if line and not line.isspace()]
    return len(shown) >= 3 and sum(STATEMENT.match(line[:200]) is not None for line in shown) >= share * len(shown)


class Language(Rule):
    """Find out which language a document is in (facts `language`, `language_score`), and drop those in others; needs the extra `data`.

    Chinese is what is written in Han characters, simplified or traditional, Cantonese and Wu as well. Source code, by the ending of its file or by
    how its lines look, has the language `code`.
    """

    kind: Literal["language"] = "language"
    keep: tuple[str, ...] = ()
    """ISO 639 codes, and `code`; documents in others are dropped. All are kept when empty."""
    least: float = Field(default=0.65, ge=0, le=1)
    """How sure it must be; below, the language is `und`."""
    sample: int = Field(default=1000, gt=0)
    """Characters that are looked at, of long documents in three pieces."""
    code: bool = True
    """Whether source code is told from languages."""
    paragraphs: bool = False
    """Whether paragraphs (lines) in a language that is surely another than those of `keep` are taken out, and counted."""

    @model_validator(mode="after")
    def known(self) -> Language:
        try:
            languages = [*sorted({*map(str, identifier().nb_classes), "ja", "ko", "zh"}), CODE, UNKNOWN] if self.keep else []
        except MissingExtraError:                                                         # said when a document is to be looked at
            return self
        if wrong := [Problem(("keep", number), f"is no language that is told apart, got {code!r}{suggest(code, languages, 'codes')}")
                     for number, code in enumerate(self.keep) if code not in languages]:
            raise ConfigError(wrong)
        return self

    def apply(self, document: Document) -> Verdict:
        ending = PurePosixPath(document.name).suffix.lower() if self.code else ""
        if ending in ENDINGS:
            facts = {"language": CODE, "language_score": 1.0, "code": ENDINGS[ending]}
        elif self.code and looks_like_code(document.text):
            facts = {"language": CODE, "language_score": 1.0}
        else:
            language, score = language_of(document.text, self.sample)
            facts = {"language": language if score >= self.least else UNKNOWN, "language_score": score}
        language = facts["language"]
        if self.keep and language not in self.keep:
            return Verdict(None, f"language {language}", {**facts, "why": f"language {language}, sure to {facts['language_score']:.0%}"})
        if not (self.paragraphs and self.keep) or language == CODE:
            return Verdict(document.text, facts=facts)
        kept, counts = [], Counter[str]()
        for line in document.text.split("\n"):
            found, score = language_of(line, self.sample) if line and not line.isspace() else (UNKNOWN, 0.0)
            if score >= self.least and found not in self.keep:
                counts[f"paragraphs in {found}"] += 1
            else:
                kept.append(line)
        return Verdict("\n".join(kept), facts=facts, counts=counts)
