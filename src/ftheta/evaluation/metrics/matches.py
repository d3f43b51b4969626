"""How well answers in words match the right ones: exactly, and by the words they share (`same_answer`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ftheta.evaluation.metrics.answered import Answered, AnswerMetric
from ftheta.evaluation.metrics.metric import Measurement
from ftheta.evaluation.metrics.same_answer import RULES, Language
from ftheta.evaluation.statistics import bounded, mean, proportion


class ExactMatch(AnswerMetric):
    """Share of answers that are the right one, but for capitals, punctuation and (in English) articles. The interval is exact."""

    kind: Literal["exact_match"] = "exact_match"
    language: Language = "english"
    """How answers are compared: as SQuAD does, or as CMRC and DRCD do."""

    def scores(self, answers: Sequence[Answered], seed: int) -> list[Measurement]:
        hits = np.array([RULES[self.language][0](answer.said, answer.true) for answer in answers])
        found = proportion(int(hits.sum()), len(hits))
        return [Measurement("exact match", found.value, found.low, found.high, len(hits), "example", "higher", found.method, seed, {"value": hits})]


class SpanF1(AnswerMetric):
    """Mean F1 of the words, or characters, that the answer and the right one share."""

    kind: Literal["span_f1"] = "span_f1"
    language: Language = "english"
    """How answers are compared: by words as SQuAD does, or by characters as CMRC and DRCD do."""

    def scores(self, answers: Sequence[Answered], seed: int) -> list[Measurement]:
        values = np.array([RULES[self.language][1](answer.said, answer.true) for answer in answers])
        found = bounded(mean(values, seed), len(values))
        return [Measurement("span F1", found.value, found.low, found.high, len(values), "example", "higher", found.method, seed, {"value": values})]
