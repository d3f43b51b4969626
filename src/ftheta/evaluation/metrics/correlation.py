"""Correlation of what a model says with scores that people gave: Pearson's r, and Spearman's ρ, which is r of the ranks (ties share theirs)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field

from ftheta.architectures.architecture import ArchitectureConfig, call
from ftheta.core.contract import Ports
from ftheta.core.errors import UsageError
from ftheta.data.source import Dataset
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.metrics.retrieval import scores, vectors
from ftheta.evaluation.statistics import bootstrap
from ftheta.models.model import Model

PAIR, SCORED = ("first", "second", "score"), ("target",)


class Correlation(Metric):
    """The model's number for each test example against the one it should have: `value` against `target`, or, for pairs of texts, the cosine of
    their vectors against `score`. The interval is a bootstrap (BCa) over examples."""

    batch: int = Field(default=64, gt=0)
    """Examples looked at together; changes nothing but speed."""

    def misfits(self, data: Ports, model: ArchitectureConfig) -> list[str]:
        gives = model.ports().gives
        if ("embedding" in gives and data.gives.keys() >= set(PAIR)) or ("value" in gives and data.gives.keys() >= set(SCORED)):
            return []
        fitting = "a source with 'target' for a model that gives 'value', or pairs of texts with 'score' for one that gives 'embedding'"
        return [f"evaluate: '{self.name}' compares numbers: choose {fitting}"]

    def ranked(self, values: np.ndarray) -> np.ndarray:
        """What is correlated, from values (R, n)."""
        return values

    def measure(self, subject: Subject) -> Result:
        dataset = split_of(subject, self.name)
        said, true = numbers(subject.model, dataset, self.batch)
        if len(said) < 3:
            raise UsageError(f"{self.name}: {len(said)} test examples are too few to correlate")
        found = bootstrap(lambda rows: pearson(self.ranked(said[rows]), self.ranked(true[rows])), len(said), subject.seed)
        return Result([Measurement(f"{self.name} correlation", found.value, found.low, found.high, len(said), "example", "higher", found.method, subject.seed)])


class Pearson(Correlation):
    """r = Σ(x - x̄)(y - ȳ) / sqrt(Σ(x - x̄)² Σ(y - ȳ)²)."""

    kind: Literal["pearson"] = "pearson"


class Spearman(Correlation):
    """Pearson's r of the ranks: how far two orders agree (Spearman 1904)."""

    kind: Literal["spearman"] = "spearman"

    def ranked(self, values: np.ndarray) -> np.ndarray:
        return ranks(values)


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(R,) from (R, n) and (R, n); not a number where either side does not vary."""
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (R, n) from 0, equal values sharing the mean of theirs."""
    order = values.argsort(-1, kind="stable")
    ordered = np.take_along_axis(values, order, -1)
    place = np.broadcast_to(np.arange(values.shape[-1]), values.shape)
    new = np.ones(values.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    last = np.ones(values.shape, dtype=bool)
    last[:, :-1] = new[:, 1:]
    first = np.maximum.accumulate(np.where(new, place, 0), -1)
    final = np.minimum.accumulate(np.where(last, place, values.shape[-1])[:, ::-1], -1)[:, ::-1]
    found = np.empty(values.shape)
    np.put_along_axis(found, order, (first + final) / 2, -1)
    return found


@torch.no_grad()
def numbers(model: Model, dataset: Dataset, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """What the model says of every example and what it should say, both (N,)."""
    given = dataset.ports.gives
    if given.keys() >= set(PAIR):
        first, second = vectors(model, dataset, batch)
        return (first * second).sum(-1).numpy(), scores(dataset).numpy()
    if "target" not in given:
        raise UsageError("the test split holds neither pairs of texts with a score nor targets")
    model.architecture.eval()
    parts = [dataset.batch(torch.arange(start, min(start + batch, len(dataset)))) for start in range(0, len(dataset), batch)]
    said = torch.cat([call(model.architecture, part)["value"] for part in parts])
    return said.double().numpy(), torch.cat([part["target"] for part in parts]).double().numpy()
