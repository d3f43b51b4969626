"""How unequally a classifier serves: the accuracy of the class that is named best less that of the class that is named worst; or of groups, such as sexes or
sites, where the source says which each example is of.

The difference of the largest and the smallest of K noisy numbers is above 0 even where all are equal, and resampling only adds to it. So every class has an
exact interval [l_k, u_k] that is wrong with probability 5 % / K, all hold together in at least 95 % of samples (Bonferroni), and then

    max_k l_k - min_k u_k  ≤  the largest true difference  ≤  max_k u_k - min_k l_k
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from ftheta.core.errors import UsageError
from ftheta.data.source import GROUP
from ftheta.evaluation.metrics.labels import answered, split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import TAIL, Interval, proportion
from ftheta.objectives.classification import Classification
from ftheta.objectives.objective import Objective


class Gaps(Metric):
    """The largest difference of two classes' or groups' accuracies, which these are, and what it would be by chance if all were equal."""

    kind: Literal["gaps"] = "gaps"
    by: Literal["class", "group"] = "class"
    """What is compared: classes, or groups that the source names (`data.source.group`)."""
    batch: int = Field(default=256, gt=0)
    """Examples looked at together; changes nothing but speed."""
    least: int = Field(default=10, gt=0)
    """Classes or groups with fewer test examples are left out."""
    draws: int = Field(default=200, gt=0)
    """How many samples are drawn to find what it would be by chance."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits * K"}

    def reads(self) -> dict[str, str]:
        return GROUP if self.by == "group" else {}

    def objectives(self) -> tuple[Objective, ...]:
        return (Classification(),)

    def measure(self, subject: Subject) -> Result:
        logits, truth = answered(subject, "gaps", self.batch)
        groups, plural = split_of(subject, "gaps").groups if self.by == "group" else None, {"class": "classes", "group": "groups"}[self.by]
        number = truth if groups is None else groups.numbers
        there, right = (np.bincount(part.numpy(), minlength=int(number.max()) + 1) for part in (number, number[logits.argmax(-1) == truth]))
        held = (there >= self.least).nonzero()[0]
        if len(held) < 2:
            raise UsageError(f"gaps: {len(held)} {plural} have {self.least} test examples or more, and two are compared: lower `least`")
        right, there = right[held], there[held]
        found = largest_gap(right, there)
        chance = by_chance(right, there, self.draws, subject.seed)
        share = right / there
        called = subject.model.processor.label if groups is None else groups.names.__getitem__
        names = [f"{called(int(held[k]))} {share[k]:.4f} ({there[k]} examples)" for k in (share.argmax(), share.argmin())]
        measurement = Measurement(
            f"accuracy gap of {plural}", found.value, found.low, found.high, int(there.sum()), "example", "lower", found.method, subject.seed,
            baselines={f"all {plural} alike": chance},
        )
        return Result([measurement], texts={f"{plural.capitalize()} named best and worst": f"{names[0]}, {names[1]}"})


def largest_gap(right: np.ndarray, there: np.ndarray) -> Interval:
    """The difference of the largest and the smallest share, of counts (K,)."""
    each = [proportion(int(r), int(n), TAIL / len(there)) for r, n in zip(right, there, strict=True)]
    low, high = np.array([e.low for e in each]), np.array([e.high for e in each])
    share = right / there
    return Interval(float(np.ptp(share)), max(0.0, float(low.max() - high.min())), float(high.max() - low.min()), "exact, all classes at once (Bonferroni)")


def by_chance(right: np.ndarray, there: np.ndarray, draws: int, seed: int) -> float:
    """The mean difference where every class has the same share, that of all together."""
    drawn = np.random.default_rng(seed).binomial(there, right.sum() / there.sum(), (draws, len(there)))
    return float(np.ptp(drawn / there, axis=1).mean())
