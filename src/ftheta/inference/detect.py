"""From what a detector says at every place to the boxes it found: the surest ones, without those that show what a surer one of the same class shows already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ftheta.core.boxes import stays

CANDIDATES = 300
"""The surest boxes of a picture that are looked at."""


class Found(NamedTuple):
    """What is in a picture, surest first."""

    boxes: Tensor
    """(n, 4) in pixels of what the model sees."""
    scores: Tensor
    """(n,)"""
    labels: Tensor
    """(n,)"""


def detections(outputs: Mapping[str, Tensor], least: float, overlap: float = 0.6, most: int = 100) -> list[Found]:
    """What a detector found in every picture of a batch: boxes (B, L, 4) and logits (B, L, K) → those whose share is at least `least`."""
    shares = outputs["logits"].float().sigmoid()
    classes = shares.shape[2]
    scores, places = shares.flatten(1).topk(min(CANDIDATES, shares[0].numel()), dim=1)
    labels = places % classes
    boxes = outputs["boxes"].float().gather(1, (places // classes)[..., None].expand(-1, -1, 4))
    keep = stays(boxes, labels, overlap) & (scores >= least)
    return [Found(b[k][:most], s[k][:most], c[k][:most]) for b, s, c, k in zip(boxes, scores, labels, keep, strict=True)]
