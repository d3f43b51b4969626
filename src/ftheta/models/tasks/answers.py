"""Outputs that several tasks share."""

from __future__ import annotations

from collections.abc import Sequence
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


class SeveralLabels(Config):
    """The classes that something has, and the probability of each."""

    labels: list[str]
    """Those that are likely enough, likeliest first; there may be none."""
    probabilities: dict[str, float]
    """Class name → probability of that class by itself, likeliest first."""

    def line(self) -> str:
        return ", ".join(f"{name} ({self.probabilities[name]:.1%})" for name in self.labels) or "none"


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


def several_labels(logits: Tensor, least: Sequence[float], names: Names) -> list[SeveralLabels]:
    """Answers for logits (B, K), each with the lowest probability of a class that is named."""
    answers = []
    for row, lowest in zip(logits.double().sigmoid(), least, strict=True):
        shares = {names.label(i): round(float(row[i]), 6) for i in row.argsort(descending=True).tolist()}
        answers.append(SeveralLabels(labels=[name for name, share in shares.items() if share >= lowest], probabilities=shares))
    return answers
