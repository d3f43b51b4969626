"""Choosing among given labels with a model that only continues text: the label under which the text is likeliest (Brown et al. 2020, arXiv:2005.14165)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field

from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.core.template import Template
from ftheta.data.chat.template import CLOSE, OPEN
from ftheta.data.processors.text import TextProcessor
from ftheta.inference.likelihood import Normalise, normalised, score_texts
from ftheta.models.tasks.answers import Labelled
from ftheta.models.tasks.task import Task


class Candidates(Config):
    """A text and the labels it may have."""

    text: str
    """The text."""
    labels: list[str] = Field(min_length=2)
    """The labels to choose from."""
    template: str = "{{ text }}\nThis text is about {{ label }}."
    """How text and label become one text (Jinja); everything from the label on is scored."""
    normalise: Normalise = "tokens"
    """What log p of the scored part is divided by."""


class ZeroShotClassification(Task[Candidates, Labelled, TextProcessor]):
    """Choose among labels that were never trained: p(label) ∝ exp(log p(label and what follows | what comes before) / length)."""

    name = "zero-shot-classification"
    input = Candidates
    output = Labelled

    def run(self, inputs: Sequence[Candidates]) -> list[Labelled]:
        pairs: list[list[tuple[str, str]]] = []
        for item in inputs:
            if len(set(item.labels)) < len(item.labels):
                raise UsageError(f"labels: {', '.join(item.labels)}: one stands there twice")
            rendered = Template(item.template, "template", strict=True).render({"text": item.text, "label": OPEN + CLOSE})
            if rendered.count(OPEN + CLOSE) != 1:
                raise UsageError("template: it must say {{ label }} once")
            before, after = rendered.split(OPEN + CLOSE)
            pairs.append([(before, label + after) for label in item.labels])
        scores = iter(score_texts(self.architecture, self.processor, [pair for choices in pairs for pair in choices]))
        answers = []
        for item, choices in zip(inputs, pairs, strict=True):
            values = torch.tensor([normalised(next(scores), after, item.normalise) for _, after in choices], dtype=torch.float64)
            shares = dict(sorted(zip(item.labels, values.softmax(0).tolist(), strict=True), key=lambda pair: -pair[1]))
            shares = {label: round(share, 6) for label, share in shares.items()}
            best = next(iter(shares))
            answers.append(Labelled(label=best, probability=shares[best], probabilities=shares))
        return answers

    def show(self, output: Labelled) -> str:
        return output.line()
