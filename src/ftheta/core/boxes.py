"""Boxes in pictures, x₁ y₁ x₂ y₂ in pixels from the left and the top: their areas, what they have in common, and which of them show what others show already."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

TINY = 1e-9
"""Instead of an area of 0 below a fraction line."""


def area(boxes: Tensor) -> Tensor:
    """(...) of boxes (..., 4)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


Overlap = Literal["iou", "giou", "diou", "ciou"]
"""What two boxes have in common, 1 at most: of both areas (iou); less what of the smallest box around both belongs to neither (giou, Rezatofighi et al. 2019,
arXiv:1902.09630); less the squared distance of their centres, by the squared diagonal of that box (diou, Zheng et al. 2019, arXiv:1911.08287); less
α v besides, v = 4/π² (atan w/h - atan w'/h')² and α = v / (1 - iou + v), which is not differentiated (ciou, there too)."""


def overlap(a: Tensor, b: Tensor, form: Overlap = "iou") -> Tensor:
    """(...) of boxes (..., 4) and (..., 4); where both are without area it is 0."""
    both = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    either = area(a) + area(b) - both
    iou = both / either.clamp(min=TINY)
    if form == "iou":
        return iou
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    if form == "giou":
        whole = around.prod(-1).clamp(min=TINY)
        return iou - (whole - either) / whole
    apart = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2).square().sum(-1)
    near = iou - apart / around.square().sum(-1).clamp(min=TINY)
    if form == "diou":
        return near
    (wide, high), (width, height) = ((box[..., 2:] - box[..., :2]).unbind(-1) for box in (a, b))
    v = 4 / math.pi**2 * (torch.atan(wide / high.clamp(min=TINY)) - torch.atan(width / height.clamp(min=TINY))).square()
    with torch.no_grad():
        alpha = v / (1 - iou + v).clamp(min=TINY)
    return near - alpha * v


def pairwise(a: Tensor, b: Tensor) -> Tensor:
    """(..., N, M): the iou of each of boxes (..., N, 4) with each of (..., M, 4)."""
    return overlap(a[..., :, None, :], b[..., None, :, :])


def stays(boxes: Tensor, labels: Tensor, overlap: float) -> Tensor:
    """(B, n): which of boxes (B, n, 4) of classes (B, n), surest first, non-maximum suppression leaves. It is greedy: from the surest on a box stays unless its
    IoU with one of its class that stays is above `overlap`. All pictures of a batch go through it together."""
    hides = (pairwise(boxes, boxes) > overlap) & (labels[:, :, None] == labels[:, None, :])
    hides = hides.triu(1)                                                                 # a box only hides those after it
    keep = torch.ones_like(labels, dtype=torch.bool)
    for i in range(labels.shape[1]):
        keep &= ~(hides[:, i] & keep[:, i, None])
    return keep
