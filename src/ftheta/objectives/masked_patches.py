"""Hidden patches of a picture are drawn from what is left of it (masked image modelling: SimMIM, Xie et al. 2021, arXiv:2111.09886; MAE, He et al. 2021,
arXiv:2111.06377). With the pixels x of a picture and the model's x̂ of the same picture with some patches hidden,

    total = Σ_hidden (x - x̂)²,    count = hidden pixels (times channels)

Hidden patches show the mean of what is left, channel by channel, so any model of pictures that gives `pixels` can be trained, and looks at a picture whole; one that
takes `chosen`, the hidden pixels, need not look at them (`masked_autoencoder`).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.core.random import Draws
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run


class MaskedPatches(Objective):
    """Guess the pixels of hidden patches."""

    kind: Literal["masked_patches"] = "masked_patches"
    patch: int = Field(default=4, gt=0)
    """Height and width of what is hidden together, in pixels: a multiple of the model's patches."""
    rate: float = Field(default=0.6, gt=0, lt=1)
    """Share of the patches hidden, the same number of every picture."""

    def needs(self) -> Needs:
        return Needs(reads={"image": "image B C H W"}, feeds={"image": "image B C H W"}, wants={"pixels": "image B C H W"}, traits={"gradients": NO_GRADIENTS})

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        image = batch["image"]
        height, width = image.shape[2:]
        rows, columns = -(-height // self.patch), -(-width // self.patch)
        hidden = min(max(1, round(self.rate * rows * columns)), max(1, rows * columns - 1))
        rank = draws.uniform(rows * columns).argsort(-1).argsort(-1).view(-1, rows, columns)
        chosen = (rank < hidden).repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)[:, :height, :width]                 # (B, H, W)
        left = (~chosen)[:, None].to(image)
        mean = (image * left).sum((2, 3), keepdim=True) / left.sum((2, 3), keepdim=True).clamp(min=1)
        return {**batch, "image": torch.where(chosen[:, None], mean, image), "target": image, "chosen": chosen}

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        drawn = run(batch)["pixels"]
        drawn = drawn.to(torch.promote_types(drawn.dtype, torch.float32))
        height, width = drawn.shape[2:]                                                   # pixels beyond the last whole patch are not drawn
        target, chosen = batch["target"][..., :height, :width], batch["chosen"][:, None, :height, :width]
        return Loss((((drawn - target) ** 2) * chosen).sum(), chosen.sum() * drawn.shape[1])

    def tasks(self) -> dict[str, str]:
        return {"image": "image-feature-extraction"}
