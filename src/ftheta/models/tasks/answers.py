"""Outputs that several tasks share."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ftheta.core.config import Config


class Labelled(Config):
    """The likeliest class and the probability of every class."""

    label: str
    """Name of the likeliest class."""
    probability: float
    """Its probability."""
    probabilities: dict[str, float]
    """Class name → probability, likeliest first."""

    def line(self) -> str:
        return f"{self.label}  ({self.probability:.1%})"


class Names(Protocol):
    """A processor that can name classes."""

    def label(self, index: int) -> str: ...


def labelled(logits: Tensor, names: Names) -> list[Labelled]:
    """Answers for logits (B, K)."""
    answers = []
    for row in logits.double().softmax(-1):
        order, values = row.argsort(descending=True).tolist(), row.tolist()
        shares = {names.label(i): round(values[i], 6) for i in order}
        answers.append(Labelled(label=names.label(order[0]), probability=round(values[order[0]], 6), probabilities=shares))
    return answers

