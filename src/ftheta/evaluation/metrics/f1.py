"""F1 of a classifier (van Rijsbergen 1979): every class by itself, their mean (macro), and all decisions together (micro).

    F1_k = 2·right_k / (guessed_k + there_k),    macro = mean of F1_k over the classes that are guessed or there,
    micro = 2·Σ right / Σ (guessed + there), which with one class an example is the accuracy

Where an example may have several classes, those with a probability above one half are guessed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core.contract import Ports, check
from ftheta.core.errors import UsageError
from ftheta.evaluation.metrics.labels import answered, guessed
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import Interval, mean_ratio, proportion, ratio
from ftheta.objectives.classification import Classification
from ftheta.objectives.multi_label import MultiLabel

MOST_CLASSES = 30
"""More classes than these are not listed one by one."""


class F1(Metric):
    """F1 of each class, macro and micro, over the test examples (or the nodes of the test mask).

    Intervals are bootstrap-t over examples. Where F1 is exactly 1 or 0 resampling shows no spread. Then the rule of three is used: of the n
    examples that are of the class or guessed to be, a share J is right, F1 = 2J / (1 + J), and J has the exact interval of a proportion:
    about 3 in n may be otherwise. The macro mean then has the mean of the classes' own ends, which is wider than need be.
    """

    kind: Literal["f1"] = "f1"
    batch: int = Field(default=256, gt=0)
    """Examples looked at together; changes nothing but speed."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits * K"}

    def misfits(self, data: Ports, model: ArchitectureConfig) -> list[str]:
        objective = MultiLabel() if "labels" in data.gives else Classification()
        return super().misfits(data, model) + [f"evaluate: '{self.name}': {reason}" for reason in check(data, model.ports(), objective.needs())]

    def measure(self, subject: Subject) -> Result:
        logits, truth = answered(subject, "f1", self.batch)
        names = subject.model.processor.dump().get("labels", [])
        return Result(measurements(guessed(logits, truth).numpy(), truth.numpy(), names, subject.seed))


def measurements(guess: np.ndarray, truth: np.ndarray, names: list[str], seed: int) -> list[Measurement]:
    """Macro, micro and every class, from classes (N,), or from which classes there are (N, K) bool."""
    several = truth.ndim > 1
    classes = np.flatnonzero((guess | truth).any(0)) if several else np.union1d(guess, truth)
    if not len(classes):
        raise UsageError("f1: no test example has a class, and none is guessed")
    said, there = ((side[:, classes].T if several else side == classes[:, None]).astype(float) for side in (guess, truth))       # (K, N)
    right, below = said * there, said + there
    each = [one_class(2 * right[k], below[k], seed) for k in range(len(classes))]
    found = mean_ratio(2 * right, below, seed)
    if not found.low < found.high:
        found = Interval(found.value, float(np.mean([e.low for e in each])), float(np.mean([e.high for e in each])), "mean of the classes' intervals")
    if several:
        micro, units = one_class(2 * right.sum(0), below.sum(0), seed), {"numerator": 2 * right.sum(0), "denominator": below.sum(0)}
    else:
        micro, units = proportion(int(right.sum()), len(truth)), {"value": right.sum(0)}
    n = len(truth)
    result = [
        Measurement("macro F1", found.value, max(0.0, found.low), min(1.0, found.high), n, "example", "higher", found.method, seed),
        Measurement("micro F1", micro.value, micro.low, micro.high, n, "example", "higher", micro.method, seed, units),
    ]
    for k, e in enumerate(each if len(classes) <= MOST_CLASSES else ()):
        name = names[classes[k]] if classes[k] < len(names) else str(classes[k])
        values = {"numerator": 2 * right[k], "denominator": below[k]}
        result.append(Measurement(f"F1 of {name}", e.value, e.low, e.high, n, "example", "higher", e.method, seed, values))
    return result


def one_class(above: np.ndarray, below: np.ndarray, seed: int) -> Interval:
    """F1 of one class from twice the right ones and guessed + there, both (N,)."""
    found = ratio(above, below, seed)
    if found.value not in (0.0, 1.0):
        return found._replace(low=max(0.0, found.low), high=min(1.0, found.high))
    share = proportion(int((above > 0).sum()), int((below > 0).sum()))
    return Interval(found.value, 2 * share.low / (1 + share.low), 2 * share.high / (1 + share.high), "rule of three on the decisions")
