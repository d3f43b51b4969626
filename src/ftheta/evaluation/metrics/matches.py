"""How well answers match the right ones: exactly, and by the words they share (Rajpurkar et al. 2016, arXiv:1606.05250; for Chinese Cui et al. 2019,
CMRC 2018, arXiv:1810.07366).

English: small letters, no punctuation, no articles; F1 over the words both have. Chinese: small letters, no punctuation, every character a word;
F1 of the longest stretch both have.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ftheta.evaluation.metrics.answers import Answered, AnswerMetric
from ftheta.evaluation.metrics.metric import Measurement
from ftheta.evaluation.statistics import bounded, mean, proportion

Language = Literal["en", "zh"]
SIGNS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》…·、「」（）－～『』")
"""What CMRC leaves out."""
PARTS = re.compile(r"[\u4e00-\u9fa5]|[^\W\u4e00-\u9fa5]+|[^\w\s]")


class ExactMatch(AnswerMetric):
    """Share of answers that are the right one, but for capitals, punctuation and (in English) articles. The interval is exact."""

    kind: Literal["exact_match"] = "exact_match"
    language: Language = "en"
    """How answers are compared: `en` as SQuAD, `zh` as CMRC and DRCD."""

    def scores(self, answers: Sequence[Answered], seed: int) -> list[Measurement]:
        hits = np.array([float(same(answer.said, answer.true, self.language)) for answer in answers])
        found = proportion(int(hits.sum()), len(hits))
        return [Measurement("exact match", found.value, found.low, found.high, len(hits), "example", "higher", found.method, seed, {"value": hits})]


class SpanF1(AnswerMetric):
    """Mean F1 of the words, or characters, that the answer and the right one share."""

    kind: Literal["span_f1"] = "span_f1"
    language: Language = "en"
    """How answers are compared: `en` by words as SQuAD, `zh` by characters as CMRC and DRCD."""

    def scores(self, answers: Sequence[Answered], seed: int) -> list[Measurement]:
        values = np.array([overlap(answer.said, answer.true, self.language) for answer in answers])
        found = bounded(mean(values, seed), len(values))
        return [Measurement("span F1", found.value, found.low, found.high, len(values), "example", "higher", found.method, seed, {"value": values})]


def same(said: str, true: str, language: Language) -> bool:
    if language == "zh":
        return "".join(c for c in said.lower().strip() if c not in SIGNS) == "".join(c for c in true.lower().strip() if c not in SIGNS)
    return words(said, language) == words(true, language)


def words(text: str, language: Language) -> list[str]:
    """What is counted of a text."""
    if language == "zh":
        return PARTS.findall("".join(c for c in text.lower() if c not in SIGNS))
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def overlap(said: str, true: str, language: Language) -> float:
    """2·common / (said + true) in words; two empty texts are the same."""
    a, b = words(said, language), words(true, language)
    if language == "en" and not (a and b):
        return float(a == b)
    common = stretch(a, b) if language == "zh" else sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b)) if common else 0.0


def stretch(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest run that both hold."""
    best, last = 0, [0] * (len(b) + 1)
    for x in a:
        row = [0]
        for j, y in enumerate(b):
            row.append(last[j] + 1 if x == y else 0)
        best, last = max(best, *row), row
    return best
