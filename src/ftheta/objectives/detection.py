"""Boxes and their classes, at the places of a detector that are assigned to one. Over all places a and classes k, and over the assigned places:

    w_s Σ_ak BCE(z_ak, t_ak) + w_b Σ_a (1 - overlap(b_a, box of a)) Σ_k t_ak

divided by the number of boxes, where a picture without any counts as one. Which places a box gets, and with which target t:

`task_aligned` (TOOD, Feng et al. 2021, arXiv:2108.07755): of the places inside it the `top` ones whose p^α IoU^β is largest, p being what the place says
of the box's class; t is that number, scaled so that the best place of a box has its largest IoU. A place that several want goes to the one with the largest IoU.

`centre` (FCOS, Tian et al. 2019, arXiv:1904.01355): the places inside it and no further than `radius` strides from its middle, on the map for its size: the
farthest of its sides is 4 to 8 strides away (any less on the finest map, any more on the coarsest); t = 1. A place that several want goes to the smallest.

The focal form of BCE multiplies it by |t - p|^γ and, where t > 0, by 2α, elsewhere by 2(1 - α) (for t of 0 and 1 twice that of Lin et al. 2017, arXiv:1708.02002).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.boxes import Overlap, area, overlap, pairwise
from ftheta.core.contract import PADDED, Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run

NEAREST, FARTHEST = 4.0, 8.0
"""How many strides the farthest side of a box is away on the map for its size."""


class Assigned(NamedTuple):
    """What each place is to say."""

    box: Tensor
    """(B, L) the number of its box, -1 where there is none."""
    target: Tensor
    """(B, L) how sure it is to be of the box's class."""


class Detection(Objective):
    """Boxes around things, with their classes."""

    kind: Literal["detection"] = "detection"
    overlap: Overlap = "ciou"
    """What a box and its prediction should have in common."""
    score: Literal["binary", "focal"] = "binary"
    """How classes are learned: binary cross-entropy, or its focal form."""
    focus: float = Field(default=2.0, ge=0)
    """γ of the focal form: how much less counts what is already right."""
    balance: float = Field(default=0.25, gt=0, lt=1)
    """α of the focal form: the weight of places that have a box beside those that have none."""
    assignment: Literal["task_aligned", "centre"] = "task_aligned"
    """Which places a box gets."""
    top: int = Field(default=10, gt=0)
    """How many places a box gets at most (task_aligned)."""
    sureness: float = Field(default=0.5, ge=0)
    """α: how much the class counts when these are chosen (task_aligned)."""
    fit: float = Field(default=6.0, gt=0)
    """β: how much the box's IoU counts (task_aligned)."""
    radius: float = Field(default=1.5, gt=0)
    """How many strides a place may be from the middle of its box (centre)."""
    box_weight: float = Field(default=5.0, gt=0)
    """w_b, the weight of boxes."""
    score_weight: float = Field(default=1.0, gt=0)
    """w_s, the weight of classes."""

    def needs(self) -> Needs:
        return Needs(
            reads={"boxes": "boxes B N 4", "box_label": "label B N"}, wants={"boxes": "boxes B L 4", "logits": "logits B L K", "places": "real B L 3"},
            traits={"gradients": NO_GRADIENTS},
        )

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        outputs = run(batch)
        boxes, logits, places = outputs["boxes"], outputs["logits"], outputs["places"]
        logits = logits.to(boxes.dtype)
        with torch.no_grad():
            found = self.assigned(boxes, logits, places, batch["boxes"].to(boxes), batch["box_label"])
        chosen = found.box >= 0
        number = found.box.clamp(min=0)
        label = batch["box_label"].clamp(min=0).gather(1, number)
        truth = batch["boxes"].to(boxes).gather(1, number[..., None].expand(-1, -1, 4))
        target = F.one_hot(label, logits.shape[2]) * found.target[..., None]
        scores = binary(logits, target) if self.score == "binary" else focal(logits, target, self.focus, self.balance)
        common = overlap(boxes[chosen], truth[chosen], self.overlap)
        wrong = ((1 - common) * found.target[chosen]).sum()
        count = (batch["box_label"] != PADDED).sum(1).clamp(min=1).sum()
        iou = overlap(boxes[chosen].detach(), truth[chosen]).sum()
        return Loss(self.score_weight * scores.sum() + self.box_weight * wrong, count, {"iou": (iou, chosen.sum().clamp(min=1))})

    def assigned(self, boxes: Tensor, logits: Tensor, places: Tensor, truth: Tensor, label: Tensor) -> Assigned:
        """Which of the boxes (B, N, 4) of class (B, N) the places (B, L, 3) are to say, given what they say now: boxes (B, L, 4) and logits (B, L, K)."""
        if self.assignment == "centre":
            return centred(places, truth, label, self.radius)
        return aligned(boxes, logits, places, truth, label, self.top, self.sureness, self.fit)

    def tasks(self) -> dict[str, str]:
        return {"image": "object-detection"}


def away(places: Tensor, truth: Tensor) -> Tensor:
    """(B, N, L, 4): how far the left, upper, right and lower side of a box are from a place; below 0 where the place is outside."""
    x, y = places[:, None, :, 0], places[:, None, :, 1]
    left, upper, right, lower = (side[..., None] for side in truth.unbind(-1))
    return torch.stack([x - left, y - upper, right - x, lower - y], -1)


def centred(places: Tensor, truth: Tensor, label: Tensor, radius: float) -> Assigned:
    """By the middle of boxes; see the top of the file."""
    stride = places[:, None, :, 2]
    sides = away(places, truth)
    middle = (truth[..., :2] + truth[..., 2:]) / 2
    near = (places[:, None, :, :2] - middle[:, :, None]).abs().amax(-1) <= radius * stride
    farthest, finest, coarsest = sides.amax(-1), stride.amin(), stride.amax()
    sized = ((farthest > NEAREST * stride) | (stride == finest)) & ((farthest <= FARTHEST * stride) | (stride == coarsest))
    wants = (sides.amin(-1) > 0) & near & sized & (label != PADDED)[..., None]
    size = area(truth)[..., None].expand_as(wants).masked_fill(~wants, torch.inf)
    smallest, box = size.min(1)
    box = box.masked_fill(smallest == torch.inf, -1)
    return Assigned(box, (box >= 0).to(truth))


def aligned(boxes: Tensor, logits: Tensor, places: Tensor, truth: Tensor, label: Tensor, top: int, sureness: float, fit: float) -> Assigned:
    """By what places say already; see the top of the file."""
    inside = (away(places, truth).amin(-1) > 0) & (label != PADDED)[..., None]            # (B, N, L)
    iou = pairwise(truth, boxes)
    share = logits.sigmoid().transpose(1, 2).gather(1, label.clamp(min=0)[..., None].expand(-1, -1, logits.shape[1]))
    fits = share**sureness * iou**fit
    best = fits.masked_fill(~inside, -1.0).topk(min(top, fits.shape[2]), dim=2).indices
    wants = torch.zeros_like(inside).scatter_(2, best, True) & inside
    closest, box = iou.masked_fill(~wants, -1.0).max(1)
    box = box.masked_fill(closest < 0, -1)
    mine = wants & (box[:, None] == torch.arange(truth.shape[1], device=box.device)[None, :, None])
    fits, iou = fits * mine, iou * mine
    scaled = fits / fits.amax(2, keepdim=True).clamp(min=SMALLEST) * iou.amax(2, keepdim=True)
    return Assigned(box, scaled.amax(1))


SMALLEST = 1e-30
"""Instead of 0 below a fraction line: p^α IoU^β of places that know nothing yet is small."""


def binary(logits: Tensor, target: Tensor) -> Tensor:
    """-t log p - (1 - t) log(1 - p)."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def focal(logits: Tensor, target: Tensor, focus: float, balance: float) -> Tensor:
    """The focal form; see the top of the file."""
    sides = torch.where(target > 0, logits.new_tensor(2 * balance), logits.new_tensor(2 * (1 - balance)))
    return sides * (target - logits.sigmoid()).abs() ** focus * binary(logits, target)
