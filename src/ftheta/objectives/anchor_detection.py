"""Boxes and their classes, said by anchors (SSD, Liu et al. 2015, arXiv:1512.02325). An anchor is given the box with which it has most in common, if their IoU is
at least `overlap`; and every box is given to the anchor with which it has most in common, whatever that is. Of the others only those count that are most wrong,
`negatives` for each that was given a box (Felzenszwalb et al. 2010). Over these

    Σ -log p(class, or nothing) + w_b Σ smooth|offsets - those of the box|₁        (Girshick 2015, arXiv:1504.08083)

divided by the number of anchors that were given a box, where a picture without any counts as one.
"""

from __future__ import annotations

from abc import ABC
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks.anchor_head import coded
from ftheta.core.boxes import pairwise
from ftheta.core.contract import PADDED, Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run


class Sums(NamedTuple):
    """What every picture amounts to (B,)."""

    wrong: Tensor
    """The sum of the losses of classes."""
    apart: Tensor
    """The sum of the losses of boxes."""
    count: Tensor
    """Anchors that were given a box, at least 1."""
    right: Tensor
    """Of these, how many say the right class."""


class OfAnchors(Objective, ABC):
    """What objectives share that learn from anchors."""

    overlap: float = Field(default=0.5, gt=0, le=1)
    """The least IoU with an anchor at which a box is given to it."""
    negatives: float = Field(default=3.0, gt=0)
    """How many anchors without a box count for each that has one: those that are most wrong."""
    box_weight: float = Field(default=1.0, gt=0)
    """w_b, the weight of boxes."""

    def sums(self, anchors: Tensor, offsets: Tensor, logits: Tensor, truth: Tensor, label: Tensor, overlap: float) -> Sums:
        """Of anchors (B, L, 4), what they say, (B, L, 4) and (B, L, K + 1), and what there is, (B, N, 4) and (B, N)."""
        truth, logits = truth.to(offsets), logits.to(offsets.dtype)
        number = given(anchors.to(offsets), truth, label, overlap)
        chosen, place = number >= 0, number.clamp(min=0)
        wanted = torch.where(chosen, label.gather(1, place), logits.shape[2] - 1)
        wrong = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
        worst = wrong.detach().masked_fill(chosen, float("-inf")).argsort(1, descending=True).argsort(1)
        counts = chosen | (worst < self.negatives * chosen.sum(1, keepdim=True))
        its = truth.gather(1, place[..., None].expand(-1, -1, 4))
        apart = F.smooth_l1_loss(offsets, coded(its, anchors.to(offsets)), reduction="none").sum(2)
        right = (logits.detach().argmax(2) == wanted) & chosen
        return Sums((wrong * counts).sum(1), apart.where(chosen, 0.0).sum(1), chosen.sum(1).clamp(min=1), right.sum(1))

    def tasks(self) -> dict[str, str]:
        return {"image": "object-detection"}


class AnchorDetection(OfAnchors):
    """Boxes around things, with their classes, said by anchors."""

    kind: Literal["anchor_detection"] = "anchor_detection"

    def needs(self) -> Needs:
        return Needs(
            reads={"boxes": "boxes B N 4", "box_label": "label B N"},
            wants={"anchors": "boxes B L 4", "offsets": "real B L 4", "anchor_logits": "logits B L M"}, traits={"gradients": NO_GRADIENTS},
        )

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        outputs = run(batch)
        found = self.sums(outputs["anchors"], outputs["offsets"], outputs["anchor_logits"], batch["boxes"], batch["box_label"], self.overlap)
        return Loss((found.wrong + self.box_weight * found.apart).sum(), found.count.sum(), {"accuracy": (found.right.sum(), found.count.sum())})


@torch.no_grad()
def given(anchors: Tensor, truth: Tensor, label: Tensor, least: float) -> Tensor:
    """(B, L): the number of the box (B, N, 4) of class (B, N) that every anchor (B, L, 4) is given, -1 for none; of two boxes that want the same the later has it."""
    if not truth.shape[1]:
        return label.new_full(anchors.shape[:2], -1)
    real = label != PADDED
    iou = pairwise(truth, anchors).masked_fill(~real[..., None], -1.0)                     # (B, N, L)
    best, number = iou.max(1)
    number = number.masked_fill(best < least, -1)
    most, its = iou.max(2)
    for n in range(truth.shape[1]):
        here = its[:, n : n + 1]
        number.scatter_(1, here, torch.where(((most[:, n] > 0) & real[:, n])[:, None], n, number.gather(1, here)))
    return number
