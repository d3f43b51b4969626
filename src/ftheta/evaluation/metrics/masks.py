"""Metrics of segmented pictures, on pixels whose class is known, as large as the model sees them: with n_kj pixels of class k taken for class j,

    pixel accuracy  Σ_k n_kk / Σ_kj n_kj
    mIoU            mean_k  n_kk / (Σ_j n_kj + Σ_j n_jk - n_kk)
    Dice            mean_k  2 n_kk / (Σ_j n_kj + Σ_j n_jk)

over all test pictures together, not a mean of pictures' own numbers; the intervals are over pictures. Classes that are neither there nor found are left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ftheta.architectures.architecture import call
from ftheta.core.contract import PADDED
from ftheta.core.errors import UsageError
from ftheta.data.images import Pictures
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.pictures import masks_over
from ftheta.evaluation.statistics import Interval, mean_ratio, ratio

SHOWN = 3
"""Pictures in the report."""


class PixelMetric(Metric, ABC):
    """A number made of how many pixels of a class were taken for which, picture by picture."""

    batch: int = Field(default=4, gt=0)
    """Pictures looked at together; changes nothing but speed."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B K H W"}

    def reads(self) -> dict[str, str]:
        return {"mask": "label B H W"}

    @abstractmethod
    def found(self, table: np.ndarray, seed: int) -> tuple[Interval, dict[str, np.ndarray]]:
        """The number with its interval, and the pictures' own values, from how many pixels of a class were taken for which (n, K, K)."""

    @abstractmethod
    def of_class(self, table: np.ndarray) -> np.ndarray:
        """The number of each class (K,) from all pictures together (K, K)."""

    def measure(self, subject: Subject) -> Result:
        dataset = split_of(subject, self.name)
        assert isinstance(dataset, Pictures)
        table = confusions(subject, dataset, self.batch).numpy().astype(float)
        if not table.sum():
            raise UsageError(f"{self.name}: no pixel of the test split has a known class")
        interval, units = self.found(table, subject.seed)
        title = self.name.replace("_", " ")
        measurement = Measurement(title, interval.value, interval.low, interval.high, len(table), "picture", "higher", interval.method, subject.seed, units)
        each = self.of_class(table.sum(0))
        text = "\n".join(f"- {name}: {value:.4f}" for name, value in zip(dataset.names, each, strict=True) if np.isfinite(value))
        return Result([measurement], {"masks.png": subject.answers["masks.png"]}, {f"{title} by class": text})


class PixelAccuracy(PixelMetric):
    """Share of pixels whose likeliest class is the right one."""

    kind: Literal["pixel_accuracy"] = "pixel_accuracy"

    def found(self, table: np.ndarray, seed: int) -> tuple[Interval, dict[str, np.ndarray]]:
        right, known = np.trace(table, axis1=1, axis2=2), table.sum((1, 2))
        return ratio(right, known, seed), {"numerator": right, "denominator": known}

    def of_class(self, table: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.diag(table) / table.sum(1)


class MeanIoU(PixelMetric):
    """Mean over classes of the pixels that are both of the class and taken for it, by those that are either."""

    kind: Literal["miou"] = "miou"

    def found(self, table: np.ndarray, seed: int) -> tuple[Interval, dict[str, np.ndarray]]:
        both, true, taken = sides(table)
        return over_classes(both, true + taken - both, seed), {}

    def of_class(self, table: np.ndarray) -> np.ndarray:
        both, true, taken = sides(table)
        with np.errstate(invalid="ignore"):
            return both / (true + taken - both)


class Dice(PixelMetric):
    """Mean over classes of twice the pixels that are both of the class and taken for it, by the sum of those that are one and those that are the other."""

    kind: Literal["dice"] = "dice"

    def found(self, table: np.ndarray, seed: int) -> tuple[Interval, dict[str, np.ndarray]]:
        both, true, taken = sides(table)
        return over_classes(2 * both, true + taken, seed), {}

    def of_class(self, table: np.ndarray) -> np.ndarray:
        both, true, taken = sides(table)
        with np.errstate(invalid="ignore"):
            return 2 * both / (true + taken)


def sides(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (..., K) that are of a class and taken for it, that are of it, that are taken for it, of (..., K, K)."""
    return np.diagonal(table, axis1=-2, axis2=-1), table.sum(-1), table.sum(-2)


def over_classes(numerators: np.ndarray, denominators: np.ndarray, seed: int) -> Interval:
    """The mean over classes of ratios over the pictures (n, K)."""
    there = denominators.sum(0) > 0
    return mean_ratio(numerators[:, there].T, denominators[:, there].T, seed)


@torch.no_grad()
def confusions(subject: Subject, dataset: Pictures, batch: int) -> Tensor:
    """(n, K, K): how many pixels of a class the model takes for which, for every test picture; several metrics read the same."""
    key = ("confusions", batch)
    if key not in subject.answers:
        model, classes = subject.model.architecture.eval(), len(dataset.names)
        tables, shown = [], []
        for rows in torch.arange(len(dataset)).split(batch):
            examples = dataset.batch(rows)
            taken, mask = call(model, examples)["logits"].argmax(1), examples["mask"]
            tables += [counted(one, other, classes) for one, other in zip(mask, taken, strict=True)]
            if len(shown) < SHOWN:
                image = dataset.raw(rows)["image"]
                image = image if image.shape[2:] == mask.shape[1:] else examples["image"]
                shown += list(zip(image, mask, taken, strict=True))
        subject.answers[key] = torch.stack(tables)
        subject.answers["masks.png"] = masks_over(shown[:SHOWN], dataset.names)
    return subject.answers[key]


def counted(mask: Tensor, taken: Tensor, classes: int) -> Tensor:
    """(K, K): how many pixels of each class were taken for which; those of no known class are left out."""
    known = mask != PADDED
    return torch.bincount(mask[known] * classes + taken[known], minlength=classes**2).view(classes, classes)
