"""The class of every pixel: cross-entropy or focal loss at each, the Dice loss of each picture, and how far off what is taken for a class lies.

With p_k the model's share of class k at a pixel and y its class, over the pixels whose class is known:

    cross-entropy  -(1 - p_y)^γ log p_y                     (γ = 0; above it the focal loss, Lin et al. 2017, arXiv:1708.02002)
    Dice           1 - mean_k (2 Σ p_k [y = k] + s) / (Σ p_k + Σ [y = k] + s)   (Milletari, Navab and Ahmadi 2016, arXiv:1606.04797)
    boundary       Σ_k p_k d_k    (Kervadec et al. 2019, arXiv:1812.07032)

with d_k the distance in pixels from a pixel outside of class k to the nearest of it, and inside, below 0, that to the nearest outside, less 1: where the class
touches its border it is 0. A class that is not in a picture, or is all of it, has no border there, and counts for nothing. Pixels of no known class are
outside of all classes when distances are measured.

All are averages over pixels: a picture's Dice loss counts for each of its known pixels, so parts of a batch add up to the batch.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.contract import PADDED, Batch, Loss, Needs
from ftheta.core.errors import MissingExtraError
from ftheta.core.random import Draws
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run


class Segmentation(Objective):
    """Which of K classes each pixel belongs to; pixels of no known class count for nothing."""

    kind: Literal["segmentation"] = "segmentation"
    cross_entropy: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy of pixels."""
    focus: float = Field(default=0.0, ge=0)
    """How much less a pixel counts there that is already right (γ of the focal loss, often 2); 0: all count alike."""
    dice: float = Field(default=0.0, ge=0)
    """Weight of the Dice loss of pictures."""
    smooth: float = Field(default=1.0, gt=0)
    """Pixels added to both sides of the Dice ratio (s), so that a class that is not in a picture has one."""

    boundary: float = Field(default=0.0, ge=0)
    """Weight of the boundary loss (needs scipy); small beside the others, since it is in pixels, and to be used with one of them: alone it is content with finding nothing."""

    @model_validator(mode="after")
    def something(self) -> Self:
        if not (self.cross_entropy or self.dice):
            raise ValueError("cross_entropy and dice are both 0, which leaves too little to learn from: give one of them a weight")
        return self

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        return {**batch, "distances": distances(batch["mask"])} if self.boundary else batch

    def needs(self) -> Needs:
        return Needs(reads={"mask": "label B H W"}, wants={"logits": "logits B K H W"}, traits={"gradients": NO_GRADIENTS})

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        mask = batch["mask"]
        logits = run(batch)["logits"]
        log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
        known = mask != PADDED
        count = known.sum()
        total = log_p.new_zeros(())
        if self.cross_entropy:
            total = total + self.cross_entropy * pixel_losses(log_p, mask, self.focus).sum()
        if self.dice:
            total = total + self.dice * (dice_losses(log_p.exp(), mask, self.smooth) * known.sum((1, 2))).sum()
        if self.boundary:
            away = batch["distances"]                                                     # (B, the classes that are there, H, W)
            total = total + self.boundary * (log_p[:, : away.shape[1]].exp() * away * known[:, None]).sum()
        right = ((log_p.detach().argmax(1) == mask) & known).sum()
        return Loss(total, count, {"accuracy": (right, count)})

    def tasks(self) -> dict[str, str]:
        return {"image": "image-segmentation"}


def pixel_losses(log_p: Tensor, mask: Tensor, focus: float) -> Tensor:
    """(B, H, W) of log p (B, K, H, W) and classes (B, H, W); 0 where the class is not known."""
    losses = F.nll_loss(log_p, mask, ignore_index=PADDED, reduction="none")
    return losses if not focus else (1 - (-losses).exp()) ** focus * losses


def dice_losses(p: Tensor, mask: Tensor, smooth: float) -> Tensor:
    """(B,) of p (B, K, H, W) and classes (B, H, W)."""
    known = (mask != PADDED)[:, None]
    truth = F.one_hot(mask.clamp(min=0), p.shape[1]).movedim(-1, 1) * known
    both, either = (p * truth).sum((2, 3)), (p * known).sum((2, 3)) + truth.sum((2, 3))
    return 1 - ((2 * both + smooth) / (either + smooth)).mean(1)


def distances(mask: Tensor) -> Tensor:
    """(B, K, H, W) float32 of classes (B, H, W): d of the boundary loss, of all classes up to the last that is there."""
    try:
        from scipy.ndimage import distance_transform_edt
    except ImportError:
        raise MissingExtraError("scipy", "vision", "objective.boundary") from None
    found = torch.zeros(len(mask), int(mask.max().clamp(min=0)) + 1, *mask.shape[1:])
    for row, classes in enumerate(mask.numpy()):
        for k in range(found.shape[1]):
            inside = classes == k
            if inside.any() and not inside.all():
                to_class, to_others = (torch.as_tensor(distance_transform_edt(side)) for side in (~inside, inside))
                found[row, k] = to_class - (to_others - 1).clamp(min=0)
    return found
