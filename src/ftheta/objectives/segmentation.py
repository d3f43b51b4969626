"""The class of every pixel: cross-entropy or focal loss at each, and the Dice loss of each picture.

With p_k the model's share of class k at a pixel and y its class, over the pixels whose class is known:

    cross-entropy  -(1 - p_y)^γ log p_y                     (γ = 0; above it the focal loss, Lin et al. 2017, arXiv:1708.02002)
    Dice           1 - mean_k (2 Σ p_k [y = k] + s) / (Σ p_k + Σ [y = k] + s)   (Milletari, Navab and Ahmadi 2016, arXiv:1606.04797)

Both are averages over pixels: a picture's Dice loss counts for each of its known pixels, so parts of a batch add up to the batch.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.contract import PADDED, Batch, Loss, Needs
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

    @model_validator(mode="after")
    def something(self) -> Self:
        if not (self.cross_entropy or self.dice):
            raise ValueError("cross_entropy and dice are both 0, which leaves nothing to learn: give one of them a weight")
        return self

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
