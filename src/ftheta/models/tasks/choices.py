"""Choosing one of several answers to a question."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field

from ftheta.architectures.architecture import call
from ftheta.core.config import Config
from ftheta.data.choices import pairs
from ftheta.models.tasks.reading import ROWS, ReadingTask


class Choosing(Config):
    """A question and the answers to choose among."""

    question: str
    """What is asked."""
    choices: tuple[str, ...] = Field(min_length=2)
    """The answers offered."""
    context: str | None = None
    """A text to be read first, for models that were trained with one."""


class Chosen(Config):
    """The likeliest answer and the probability of each."""

    answer: str
    """The likeliest answer."""
    number: int
    """Its place among those offered, from 0."""
    probability: float
    """Its probability."""
    probabilities: tuple[float, ...]
    """The probability of every answer, in the order they were offered."""


class MultipleChoice(ReadingTask[Choosing, Chosen]):
    """Choose the answer to a question among some."""

    name = "multiple-choice"
    input = Choosing
    output = Chosen

    @torch.no_grad()
    def run(self, inputs: Sequence[Choosing]) -> list[Chosen]:
        self.architecture.eval()
        found = []
        for start in range(0, len(inputs), ROWS):
            few = inputs[start : start + ROWS]
            logits = call(self.architecture, self.processor.choices([self.frame(pairs(item.question, item.context, item.choices)) for item in few]))["logits"]
            found += [self.chosen(item, row[: len(item.choices)].double().softmax(-1).tolist()) for item, row in zip(few, logits, strict=True)]
        return found

    def chosen(self, item: Choosing, shares: Sequence[float]) -> Chosen:
        rounded = tuple(round(share, 6) for share in shares)
        best = max(range(len(shares)), key=lambda i: shares[i])
        return Chosen(answer=item.choices[best], number=best, probability=rounded[best], probabilities=rounded)

    def show(self, output: Chosen) -> str:
        return f"{output.answer}  ({output.probability:.1%})"
