"""Which of K classes an image or a text has, any number of them: the binary cross-entropy of each class by itself,

    -1/K Σ_k (w t_k log σ(z_k) + (1 - t_k) log(1 - σ(z_k)))

the mean over classes, summed over examples.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run


class MultiLabel(Objective):
    """Which of K classes each example has: none, one or several."""

    kind: Literal["multi_label"] = "multi_label"
    present: float = Field(default=1.0, gt=0)
    """w, how much a class counts that is there beside one that is not: above 1 where classes are rare."""

    def needs(self) -> Needs:
        return Needs(reads={"labels": "mask B K"}, wants={"logits": "logits B K"}, traits={"gradients": NO_GRADIENTS})

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        logits, labels = run(batch)["logits"], batch["labels"]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        total = F.binary_cross_entropy_with_logits(logits, labels.to(logits), pos_weight=logits.new_tensor(self.present), reduction="none").mean(1).sum()
        right = ((logits.detach() > 0) == labels).all(1).sum()
        return Loss(total, len(labels), {"accuracy": (right, len(labels))})

    def tasks(self) -> dict[str, str]:
        return {"image": "multi-label-image-classification", "tokens": "multi-label-text-classification"}
