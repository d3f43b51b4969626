"""Boxes in pictures, x₁ y₁ x₂ y₂ in pixels from the left and the top: areas, and what becomes of them when pictures are moved and cut."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ftheta.core.contract import PADDED, Batch
from ftheta.data.frame import Size

TINY = 1e-9
"""Instead of an area of 0 below a fraction line."""


def area(boxes: Tensor) -> Tensor:
    """(...) of boxes (..., 4)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def window(size: Size, like: Tensor) -> Tensor:
    """(4,) the whole of a frame of this height and width as a box."""
    return torch.tensor([0, 0, size[1], size[0]]).to(like)


def visible(boxes: Tensor, label: Tensor, window: Tensor, least: float = 0.0) -> Batch:
    """`boxes` (B, N, 4) cut off at the edges of a window (4) or (B, 1, 4), and `box_label`; one of which no more than this share is left becomes padding."""
    cut = torch.cat([torch.minimum(torch.maximum(boxes[..., side], window[..., :2]), window[..., 2:]) for side in (slice(0, 2), slice(2, 4))], -1)
    gone = (area(cut) <= least * area(boxes)) | (label == PADDED)
    return {"boxes": cut.masked_fill(gone[..., None], 0.0), "box_label": label.masked_fill(gone, PADDED)}


def moved(boxes: Tensor, forward: Tensor) -> Tensor:
    """The upright boxes (B, N, 4) around boxes whose points (x, y) are moved by `forward` (B, 2, 3): forward · (x, y, 1)."""
    x, y = boxes[..., [0, 2, 0, 2]].double(), boxes[..., [1, 1, 3, 3]].double()           # (B, N, 4): the corners
    row = forward[:, :, None, None, :]                                                    # (B, 2, 1, 1, 3)
    across, down = (row[:, i, ..., 0] * x + row[:, i, ..., 1] * y + row[:, i, ..., 2] for i in (0, 1))
    return torch.stack([across.amin(-1), down.amin(-1), across.amax(-1), down.amax(-1)], -1).to(boxes)


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
