"""How well questions are answered by stretches of a text: exact match and F1, the best over all accepted answers.

A question without an answer is answered right by nothing, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ftheta.core.errors import UsageError
from ftheta.data.questions import Asked, AskedTexts
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.metrics.same_answer import RULES, Language
from ftheta.evaluation.statistics import mean, proportion
from ftheta.models.tasks.questions import Question, QuestionAnswering


class Answers(Metric):
    """Exact match and F1 of answers to the test split's questions."""

    kind: Literal["answers"] = "answers"
    language: Language
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
