"""Metrics over labelled examples: accuracy, regression error, agreement of clusters with classes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ftheta.architectures.architecture import Outputs, call
from ftheta.core.contract import Batch
from ftheta.core.errors import UsageError
from ftheta.data.source import Dataset
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import mean, proportion
from ftheta.models.model import Model


@torch.no_grad()
def run_all(model: Model, dataset: Dataset, batch: int) -> list[tuple[Batch, Outputs]]:
    """The model's outputs on every example of a data set, batch by batch."""
    model.architecture.eval()
    results = []
    for start in range(0, len(dataset), batch):
        examples = dataset.batch(torch.arange(start, min(start + batch, len(dataset))))
        results.append((examples, call(model.architecture, examples)))
    return results


def answered(subject: Subject, metric: str, batch: int) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and classes (N,) of the test examples, or of the nodes of the test mask; where an example may have several, which ones (N, K)."""
    logits, truth = [], []
    for examples, outputs in run_all(subject.model, split_of(subject, metric), batch):
        answers = examples["labels"] if "labels" in examples else examples["label"]
        counted = examples.get("mask", torch.ones(len(answers), dtype=torch.bool))
        logits.append(outputs["logits"][counted])
        truth.append(answers[counted])
    return torch.cat(logits), torch.cat(truth)


def guessed(logits: Tensor, truth: Tensor) -> Tensor:
    """The likeliest class (N,); where an example may have several, those that are likelier there than not (N, K)."""
    return logits > 0 if truth.ndim > 1 else logits.argmax(-1)


def split_of(subject: Subject, metric: str) -> Dataset:
    if "test" not in subject.splits:
        raise UsageError(f"{metric} needs a test split")
    return subject.splits["test"]


class Accuracy(Metric):
    """Share of test examples (or nodes of the test mask) whose likeliest class is the right one; where an example may have several, of those all of
    whose classes are found, and no other."""

    kind: Literal["accuracy"] = "accuracy"
    batch: int = Field(default=256, gt=0)
    """Examples looked at together; changes nothing but speed."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits * K"}

    def measure(self, subject: Subject) -> Result:
        logits, truth = answered(subject, "accuracy", self.batch)
        right = guessed(logits, truth) == truth
        hits = (right.all(1) if right.ndim > 1 else right).numpy()
        found = proportion(int(hits.sum()), len(hits))
        return Result([Measurement("accuracy", found.value, found.low, found.high, len(hits), "example", "higher", found.method, subject.seed, {"value": hits.astype(float)})])


class Regression(Metric):
    """Root mean squared error and R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)² on the test split."""

    kind: Literal["regression"] = "regression"

    def needs(self) -> dict[str, str]:
        return {"value": "real B"}

    def measure(self, subject: Subject) -> Result:
        pairs = run_all(subject.model, split_of(subject, "regression"), 1024)
        truth = torch.cat([examples["target"] for examples, _ in pairs]).double().numpy()
        guess = torch.cat([outputs["value"] for _, outputs in pairs]).double().numpy()
        errors = (truth - guess) ** 2
        squared = mean(errors, subject.seed)
        spread = float(((truth - truth.mean()) ** 2).mean())
        root = Measurement(
            "root mean squared error", float(np.sqrt(squared.value)), float(np.sqrt(max(squared.low, 0))), float(np.sqrt(squared.high)), len(truth), "example",
            "lower", squared.method, subject.seed, {"value": errors}, {"mean of the test split": float(np.sqrt(spread))},
        )
        share = Measurement("R2", 1 - squared.value / spread, 1 - squared.high / spread, 1 - squared.low / spread, len(truth), "example", "higher",
                            f"{squared.method} of the error, the test split's variance taken as given", subject.seed)
        return Result([root, share])


class Clusters(Metric):
    """Purity: the share of test examples whose cluster's commonest class is theirs. And their mean squared distance to the centre."""

    kind: Literal["clusters"] = "clusters"

    def needs(self) -> dict[str, str]:
        return {"cluster": "label B", "distance": "real B K"}

    def measure(self, subject: Subject) -> Result:
        pairs = run_all(subject.model, split_of(subject, "clusters"), 1024)
        label = torch.cat([examples["label"] for examples, _ in pairs])
        cluster = torch.cat([outputs["cluster"] for _, outputs in pairs])
        distance = torch.cat([outputs["distance"].min(-1).values for _, outputs in pairs]).double().numpy() ** 2
        common = {int(c): int(label[cluster == c].mode().values) for c in cluster.unique()}
        hits = np.array([common[int(c)] == int(k) for c, k in zip(cluster, label, strict=True)])
        pure, near = proportion(int(hits.sum()), len(hits)), mean(distance, subject.seed)
        return Result([
            Measurement("purity", pure.value, pure.low, pure.high, len(hits), "example", "higher", pure.method, subject.seed, {"value": hits.astype(float)}),
            Measurement("squared distance", near.value, near.low, near.high, len(hits), "example", "lower", near.method, subject.seed, {"value": distance}),
        ])
