"""Learning from one's own slow average, without labels (DINO, Caron et al. 2021, arXiv:2104.14294). Of two views 1 and 2 of a picture the model says s, and its
teacher, whose weights follow the model's, t; over prototypes k,

    total = Σ ½ Σ_{u ≠ v} -Σ_k softmax(t_u / τ_t)_k log softmax(s_v / τ_s)_k,    count = pictures

t is less the slow mean of what the teacher has said: without that one prototype would win everywhere; with τ_t < τ_s the teacher is the more certain, or all would
win alike. (The teacher and that mean are the architecture's, `self_taught`; views are of one size here, where DINO adds small ones for the student alone.)
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, PrivateAttr, model_validator
from torch import Tensor, nn

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.core.random import Draws
from ftheta.data.augment.colour import Colour
from ftheta.data.augment.moving import ResizedCrop
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.processors.processor import Processor
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run
from ftheta.objectives.views import Views, refuse_mixing, views_of


class SelfDistillation(Objective):
    """Say of a view what one's own slow average says of another view of the same picture."""

    kind: Literal["self_distillation"] = "self_distillation"
    temperature: float = Field(default=0.1, gt=0)
    """Divides what the model says: τ_s."""
    teacher_temperature: float = Field(default=0.04, gt=0)
    """Divides what the teacher says: τ_t; below the model's."""
    views: Views = (ResizedCrop(), Colour())
    """Random changes that make two views of a picture, in order; only such as look at nothing but the picture."""

    _processor: ImageProcessor | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def sensible(self) -> SelfDistillation:
        refuse_mixing(self.views)
        if self.teacher_temperature >= self.temperature:
            raise ValueError(f"teacher_temperature {self.teacher_temperature:g} must be below temperature {self.temperature:g}: the teacher has to be the more certain")
        return self

    def with_tokens(self, processor: Processor) -> Self:
        told = self.model_copy()
        told._processor = processor if isinstance(processor, ImageProcessor) else None
        return told

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        """Both views (B, C, H, W) of pictures, the one in their place and the other as `other`."""
        one, other = views_of(batch["image"], self._processor, self.views, draws, 2)
        return {**batch, "image": one, "other": other}

    def needs(self) -> Needs:
        wants = {"assigned": "real B P", "taught": "real B P"}
        return Needs(reads={"image": "image B C H W"}, feeds={"image": "image B C H W"}, wants=wants, traits={"gradients": NO_GRADIENTS})

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        said = [run({"image": batch[name]}) for name in ("image", "other")]
        with torch.no_grad():
            taught = [(real(one["taught"]) / self.teacher_temperature).softmax(-1) for one in said]
        mine = [(real(one["assigned"]) / self.temperature).log_softmax(-1) for one in said]
        total = -((taught[0] * mine[1]).sum() + (taught[1] * mine[0]).sum()) / 2
        count = len(batch["image"])
        spread = -sum(torch.special.xlogy(one, one).sum() for one in taught) / 2
        alike = (taught[0].argmax(-1) == mine[1].detach().argmax(-1)).sum()
        return Loss(total, count, {"teacher_entropy": (spread, count), "found": (alike, count)})

    def tasks(self) -> dict[str, str]:
        return {"image": "image-feature-extraction"}


def real(x: Tensor) -> Tensor:
    """In float32 or, where it is, float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
