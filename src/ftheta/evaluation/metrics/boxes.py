"""Mean average precision of found boxes, as Microsoft COCO counts it (Lin et al. 2014, arXiv:1405.0312; checked against its `pycocotools`).

In every picture, for each class and each IoU from 0.5 to 0.95 in steps of 0.05, the boxes found, surest first, take the box of that class not yet taken with
which they have most in common, if that is enough. Over all pictures, surest first again, precision is the share of those found that took one, made to fall
only, and read at 101 values of recall from 0 to 1; their mean is the average precision. mAP is its mean over classes and IoUs, mAP50 over classes at 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ftheta.architectures.architecture import call
from ftheta.core.boxes import pairwise
from ftheta.core.contract import PADDED
from ftheta.core.errors import UsageError
from ftheta.data.images import Pictures
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.pictures import boxes_over
from ftheta.inference.detect import Found, detections

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
LEAST = 0.001
"""Found boxes less sure than this cannot change the number by much, and are many."""
DRAWN = 0.3
"""Found boxes at least this sure are drawn."""
SHOWN = 6
"""Pictures in the report."""
RESAMPLES = 300


class Matched(NamedTuple):
    """One class in one picture."""

    scores: np.ndarray
    """(n,) of the boxes found, surest first."""
    took: np.ndarray
    """(10, n): whether each took a box, for each IoU."""
    there: int
    """How many boxes there are."""


class CocoMAP(Metric):
    """Mean average precision of boxes: over IoUs from 0.5 to 0.95 (mAP), and at 0.5 (mAP50)."""

    kind: Literal["coco_map"] = "coco_map"
    batch: int = Field(default=8, gt=0)
    """Pictures looked at together; changes nothing but speed."""
    overlap: float = Field(default=0.6, ge=0, le=1)
    """The largest IoU of two boxes of one class that the model may both report."""

    def needs(self) -> dict[str, str]:
        return {"boxes": "boxes B L 4", "logits": "logits B L K"}

    def reads(self) -> dict[str, str]:
        return {"boxes": "boxes B N 4", "box_label": "label B N"}

    @torch.no_grad()
    def measure(self, subject: Subject) -> Result:
        dataset = split_of(subject, "coco_map")
        assert isinstance(dataset, Pictures)
        model, names = subject.model.architecture.eval(), dataset.names
        pictures: list[list[Matched]] = []
        shown = []
        for rows in torch.arange(len(dataset)).split(self.batch):
            examples = dataset.batch(rows)
            raw = dataset.raw(rows)["image"]
            for i, found in enumerate(detections(call(model, examples), LEAST, self.overlap)):
                real = examples["box_label"][i] != PADDED
                truth, label = examples["boxes"][i][real], examples["box_label"][i][real]
                pictures.append([matched(found, truth, label, k) for k in range(len(names))])
                if len(shown) < SHOWN:
                    sure = found.scores >= DRAWN
                    image = raw[i] if raw.shape[2:] == examples["image"].shape[2:] else examples["image"][i]
                    shown.append((image, (truth, label), (found.boxes[sure], found.labels[sure])))
        if not any(one.there for picture in pictures for one in picture):
            raise UsageError("coco_map: no test picture has a box")
        whole = average_precisions(pictures)                                              # (K, 10)
        draws = np.random.default_rng(subject.seed)
        again = [summary(average_precisions([pictures[i] for i in draws.integers(len(pictures), size=len(pictures))])) for _ in range(RESAMPLES)]
        measurements = []
        for name, value, others in zip(("mAP", "mAP50"), summary(whole), np.array(again).T, strict=True):
            low, high = np.nanpercentile(others, [2.5, 97.5])
            method = "percentiles of resampled pictures"
            measurements.append(Measurement(name, value, float(low), float(high), len(pictures), "picture", "higher", method, subject.seed))
        rows = [f"- {name}: {each[0]:.4f} at 0.5, {each.mean():.4f} in the mean" for name, each in zip(names, whole, strict=True) if np.isfinite(each).all()]
        return Result(measurements, {"boxes.png": boxes_over(shown, names)}, {"Average precision by class": "\n".join(rows)})


def summary(precisions: np.ndarray) -> tuple[float, float]:
    """mAP and mAP50 of average precisions (K, 10); classes that are nowhere are left out."""
    return float(np.nanmean(precisions)), float(np.nanmean(precisions[:, 0]))


def matched(found: Found, truth: Tensor, label: Tensor, k: int) -> Matched:
    """The boxes of class k in one picture."""
    mine, real = found.labels == k, truth[label == k]
    scores = found.scores[mine].double().numpy()
    common = pairwise(found.boxes[mine].double(), real.double()).numpy()
    took = np.zeros((len(OVERLAPS), len(scores)), bool)
    for t, least in enumerate(OVERLAPS):
        free = np.ones(len(real), bool)
        for i in range(len(scores)):
            here = np.where(free & (common[i] >= min(least, 1 - 1e-10)), common[i], -1.0)
            if len(here) and here.max() > 0:
                best = len(here) - 1 - int(here[::-1].argmax())                           # of equals the last, as pycocotools has it
                free[best], took[t, i] = False, True
    return Matched(scores, took, len(real))


def average_precisions(pictures: Sequence[Sequence[Matched]]) -> np.ndarray:
    """(K, 10): of every class at every IoU; not a number where the class is nowhere."""
    result = np.full((len(pictures[0]), len(OVERLAPS)), np.nan)
    for k, each in enumerate(zip(*pictures, strict=True)):
        there = sum(one.there for one in each)
        if not there:
            continue
        scores = np.concatenate([one.scores for one in each])
        took = np.concatenate([one.took for one in each], 1)[:, np.argsort(-scores, kind="stable")]
        right = took.cumsum(1)
        recall, precision = right / there, right / np.arange(1, len(scores) + 1)
        falling = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        for t in range(len(OVERLAPS)):
            place = np.searchsorted(recall[t], RECALLS, side="left")
            reached = place < len(scores)
            result[k, t] = falling[t][place[reached]].sum() / len(RECALLS)
    return result
