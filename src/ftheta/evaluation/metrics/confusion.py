"""What is taken for what: the accuracy of every class by itself, and a picture of all pairs of true and guessed classes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ftheta.evaluation.bars import plain
from ftheta.evaluation.metrics.f1 import MOST_CLASSES
from ftheta.evaluation.metrics.labels import answered
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import proportion
from ftheta.objectives.classification import Classification
from ftheta.objectives.objective import Objective

WORST = 5
"""Pairs of classes that are named in words."""


class Confusion(Metric):
    """Share of each class's test examples that are named rightly, a picture of what is taken for what, and the commonest mistakes in words."""

    kind: Literal["confusion"] = "confusion"
    batch: int = Field(default=256, gt=0)
    """Examples looked at together; changes nothing but speed."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits * K"}

    def objectives(self) -> tuple[Objective, ...]:
        return (Classification(),)

    def measure(self, subject: Subject) -> Result:
        logits, truth = answered(subject, "confusion", self.batch)
        classes = subject.model.architecture.config.ports().sizes["K"]
        table = counts(truth.numpy(), logits.argmax(-1).numpy(), classes)
        names = [subject.model.processor.label(k) for k in range(classes)]
        there = table.sum(1)
        listed = [k for k in range(classes) if there[k]] if classes <= MOST_CLASSES else []
        found = [(names[k], proportion(int(table[k, k]), int(there[k])), int(there[k])) for k in listed]
        measurements = [
            Measurement(f"accuracy of {name}", share.value, share.low, share.high, n, "example", "higher", share.method, subject.seed) for name, share, n in found
        ]
        return Result(measurements, {"confusion.png": drawn(table, names)}, {"What is taken for what": mistakes(table, names)})


def counts(truth: np.ndarray, guess: np.ndarray, classes: int) -> np.ndarray:
    """(K, K): how many examples of class k were taken for class j."""
    return np.bincount(truth * classes + guess, minlength=classes**2).reshape(classes, classes)


def mistakes(table: np.ndarray, names: Sequence[str]) -> str:
    """The commonest ones."""
    wrong = np.where(np.eye(len(table), dtype=bool), 0, table)
    places = [divmod(int(place), len(table)) for place in np.argsort(-wrong, axis=None, kind="stable")[:WORST]]
    lines = [f"{names[k]} taken for {names[j]}: {wrong[k, j]} of {table[k].sum()}" for k, j in places if wrong[k, j]]
    return "\n".join(lines) or "Nothing is taken for anything else."


def drawn(table: np.ndarray, names: Sequence[str]) -> bytes:
    """The table as shades, each row a true class whose shares add up to 1, with its numbers where they can be read; PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    classes = len(table)
    side = min(9.0, 2.4 + 0.42 * classes)
    figure = Figure(figsize=(side, side))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if classes <= MOST_CLASSES:
        shown = [plain(name) for name in names]
        axes.set_xticks(range(classes), shown, rotation=90, fontsize=7)
        axes.set_yticks(range(classes), shown, fontsize=7)
        for k, j in zip(*table.nonzero(), strict=True):
            axes.text(j, k, str(table[k, j]), ha="center", va="center", fontsize=6, color="white" if shares[k, j] > 0.5 else "black")
    axes.set(xlabel="taken for", ylabel="is")
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110, bbox_inches="tight")
    return sink.getvalue()
