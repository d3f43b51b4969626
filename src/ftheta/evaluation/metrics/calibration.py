"""Whether what a classifier is sure of is so: with confidence c_i, the largest of its probabilities, hits h_i and equal bins of confidence,

    expected calibration error = Σ_bins |Σ_{i in bin} (c_i - h_i)| / n        (Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602; Guo et al. 2017, arXiv:1706.04599)
    overconfidence = mean of c_i - h_i

The error of n examples is above 0 even for a model that is calibrated perfectly, since hits are random: what such a model would show, with the same
confidences, is given beside it.
"""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from pydantic import Field

from ftheta.evaluation.metrics.labels import answered
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import bootstrap, mean
from ftheta.objectives.classification import Classification
from ftheta.objectives.objective import Objective

TRIALS = 200
"""Draws of hits that a perfectly calibrated model would have."""


class Calibration(Metric):
    """Expected calibration error and overconfidence on the test split, and a picture of accuracy against confidence."""

    kind: Literal["calibration"] = "calibration"
    bins: int = Field(default=15, gt=0)
    """Into how many equal parts confidences from 0 to 1 are divided."""
    batch: int = Field(default=256, gt=0)
    """Examples looked at together; changes nothing but speed."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits * K"}

    def objectives(self) -> tuple[Objective, ...]:
        return (Classification(),)

    def measure(self, subject: Subject) -> Result:
        logits, truth = answered(subject, "calibration", self.batch)
        sure, guess = logits.double().softmax(-1).max(-1)
        confidence, hits = sure.numpy(), (guess == truth).numpy().astype(float)
        n, place = len(hits), binned(confidence, self.bins)
        found = bootstrap(lambda rows: calibration_error(confidence[rows] - hits[rows], place[rows], self.bins), n, subject.seed)
        perfect = (np.random.default_rng(subject.seed).random((TRIALS, n)) < confidence).astype(float)
        baseline = float(calibration_error(confidence - perfect, np.broadcast_to(place, perfect.shape), self.bins).mean())
        ahead = mean(confidence - hits, subject.seed)
        return Result([
            Measurement("expected calibration error", found.value, max(0.0, found.low), found.high, n, "example", "lower", found.method, subject.seed,
                        baselines={"calibrated perfectly": baseline}),
            Measurement("overconfidence", ahead.value, ahead.low, ahead.high, n, "example", "neither", ahead.method, subject.seed, {"value": confidence - hits}),
        ], {"calibration.png": drawn(confidence, hits, place, self.bins)})


def binned(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The bin of every confidence; those on a border belong below, as is usual."""
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def calibration_error(gap: np.ndarray, place: np.ndarray, bins: int) -> np.ndarray:
    """Of confidence minus hit, and bins, of every example (R, n) → (R,)."""
    gap, place = np.atleast_2d(gap), np.atleast_2d(place)
    rows = np.arange(len(gap))[:, None] * bins
    sums = np.bincount((place + rows).ravel(), gap.ravel(), len(gap) * bins).reshape(len(gap), bins)
    return np.abs(sums).sum(1) / gap.shape[1]


def drawn(confidence: np.ndarray, hits: np.ndarray, place: np.ndarray, bins: int) -> bytes:
    """Accuracy of every bin that holds examples against its mean confidence, the size of a point growing with how many; PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.8, 3.8))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    held = np.bincount(place, minlength=bins)
    there = held > 0
    means = [np.bincount(place, values, bins)[there] / held[there] for values in (confidence, hits)]
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    axes.scatter(*means, s=12 + 180 * held[there] / held.max(), alpha=0.7)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110, bbox_inches="tight")
    return sink.getvalue()
