"""How well questions are answered by stretches of a text: exact match and F1, the best over all accepted answers.

English as SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018): lower case, no punctuation, no articles; F1 over words, however they are ordered:

    P = |prediction ∩ answer| / |prediction|,    R = |prediction ∩ answer| / |answer|,    F1 = 2 P R / (P + R)

Chinese as CMRC 2018 and DRCD (Cui et al. 2019, arXiv:1810.07366): lower case, without CMRC's list of signs; F1 with the longest common run of
characters (of words, where there are Latin letters or digits) in place of the common words. Where the published script cuts runs that are
not Chinese by NLTK's rules, they are cut here into words and single other signs.

A question without an answer is answered right by nothing, and by nothing else.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ftheta.core.errors import UsageError
from ftheta.data.questions import Asked, AskedTexts
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import mean, proportion
from ftheta.models.tasks.questions import Question, QuestionAnswering

ARTICLES = re.compile(r"\b(a|an|the)\b")
SIGNS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
CUT = re.compile(r"[\u4e00-\u9fa5]|\d+(?:[.,]\d+)+|[^\W\u4e00-\u9fa5]+|[^\w\s]")


class Answers(Metric):
    """Exact match and F1 of answers to the test split's questions."""

    kind: Literal["answers"] = "answers"
    language: Literal["english", "chinese"]
    """Whose rules say when two answers are the same: SQuAD's, or those of CMRC and DRCD."""
    most: int = Field(default=30, gt=0)
    """Tokens an answer may have."""
    threshold: float | None = None
    """How much more than the best stretch "no answer" must score to be the answer; none: there is always one."""
    batch: int = Field(default=32, gt=0)
    """Questions looked at together; changes nothing but speed."""

    def needs(self) -> dict[str, str]:
        return {"span": "logits B T 2"}

    def measure(self, subject: Subject) -> Result:
        dataset = split_of(subject, "answers")
        if not isinstance(dataset, AskedTexts):
            raise UsageError("answers needs questions about texts: a source such as 'questions'")
        task = QuestionAnswering(subject.model.architecture, subject.model.processor)        # type: ignore[arg-type]
        predicted: list[str] = []
        for start in range(0, len(dataset.asked), self.batch):
            few = dataset.asked[start : start + self.batch]
            predicted += [answer.answer for answer in task.run([self.put(question, dataset.stride) for question in few])]
        exact, overlap = RULES[self.language]
        scores = {
            name: np.array([best(score, text, question.answers) for text, question in zip(predicted, dataset.asked, strict=True)])
            for name, score in (("exact match", exact), ("answer F1", overlap))
        }
        answerable = np.array([bool(question.answers) for question in dataset.asked])
        parts = {"": np.ones_like(answerable)}
        if not answerable.all() and answerable.any():
            parts |= {", answerable": answerable, ", unanswerable": ~answerable}
        return Result([measurement(name + tail, values[which], subject.seed) for tail, which in parts.items() for name, values in scores.items()])

    def put(self, question: Asked, stride: int) -> Question:
        return Question(question=question.question, context=question.context, most=self.most, stride=stride, threshold=self.threshold)


def measurement(name: str, values: np.ndarray, seed: int) -> Measurement:
    """Exact matches have an exact interval; F1, which lies in between, that of a mean (or of none or all, where all questions are alike)."""
    whole = bool(np.isin(values, (0, 1)).all())
    found = proportion(int(values.sum()), len(values)) if whole else mean(values, seed)
    return Measurement(name, found.value, found.low, found.high, len(values), "question", "higher", found.method, seed, {"value": values.astype(float)})


def best(score: Callable[[str, str], float], predicted: str, answers: Sequence[str]) -> float:
    """The best score over the accepted answers; without any, nothing is the answer."""
    return max(score(predicted, answer) for answer in answers or ("",))


def english_words(text: str) -> list[str]:
    """Words in lower case, without punctuation and articles."""
    bare = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return ARTICLES.sub(" ", bare).split()


def english_exact(predicted: str, answer: str) -> float:
    return float(english_words(predicted) == english_words(answer))


def english_overlap(predicted: str, answer: str) -> float:
    a, b = english_words(predicted), english_words(answer)
    return f1((Counter(a) & Counter(b)).total(), len(a), len(b))


def chinese_bare(text: str) -> str:
    return "".join(sign for sign in text.lower().strip() if sign not in SIGNS)


def chinese_exact(predicted: str, answer: str) -> float:
    return float(chinese_bare(predicted) == chinese_bare(answer))


def chinese_overlap(predicted: str, answer: str) -> float:
    a, b = CUT.findall(chinese_bare(predicted)), CUT.findall(chinese_bare(answer))
    longest, before = 0, [0] * (len(b) + 1)
    for piece in a:
        row = [0] * (len(b) + 1)                                                          # lengths of common runs that end here
        for j, other in enumerate(b):
            if piece == other:
                row[j + 1] = before[j] + 1
        longest, before = max(longest, *row), row
    return f1(longest, len(a), len(b))


def f1(common: int, predicted: int, answer: int) -> float:
    """2PR / (P + R); of nothing with nothing it is 1."""
    if not predicted or not answer:
        return float(predicted == answer)
    return 2 * common / (predicted + answer)


RULES = {"english": (english_exact, english_overlap), "chinese": (chinese_exact, chinese_overlap)}
"""Language → exact match and F1 of a predicted and an accepted answer."""
