"""Boxes and their classes in two stages (Ren et al. 2015, arXiv:1506.01497): anchors learn where something is, regions what it is and where exactly; each as
`anchor_detection` has it, a region being the anchor of the second stage. The loss is the sum of the stages', each by its own number of anchors.

While it is trained the boxes of a picture are among its regions, as there, so that every class is learned from good regions from the first step on. Of regions, too,
those count that are most wrong (Shrivastava, Gupta and Girshick 2016, arXiv:1604.03540), instead of some drawn at random.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.anchor_detection import OfAnchors
from ftheta.objectives.objective import NO_GRADIENTS, Coupled, Phase, Run

STAGES = ("anchors", "regions")


class RegionDetection(OfAnchors, Coupled):
    """Boxes around things, with their classes, found in two stages."""

    kind: Literal["region_detection"] = "region_detection"
    region_overlap: float = Field(default=0.5, gt=0, le=1)
    """The least IoU with a region at which a box is given to it."""
    region_weight: float = Field(default=1.0, gt=0)
    """The weight of the second stage."""

    def needs(self) -> Needs:
        first = {"anchors": "boxes B L 4", "offsets": "real B L 4", "anchor_logits": "logits B L 2"}
        second = {"regions": "boxes B R 4", "region_offsets": "real B R 4", "region_logits": "logits B R M"}
        truth = {"boxes": "boxes B N 4", "box_label": "label B N"}
        return Needs(reads=truth, feeds={"given": truth["boxes"]}, wants={**first, **second}, traits={"gradients": NO_GRADIENTS})

    def embed(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Batch:
        """The sums of every picture (B,), by stage."""
        truth, label = batch["boxes"], batch["box_label"]
        outputs = run(batch, given=truth)
        something = label.clamp(max=0)                                                    # of one class, whatever it is
        stages = [
            self.sums(outputs["anchors"], outputs["offsets"], outputs["anchor_logits"], truth, something, self.overlap),
            self.sums(outputs["regions"], outputs["region_offsets"], outputs["region_logits"], truth, label, self.region_overlap),
        ]
        return {f"{stage} {name}": value for stage, sums in zip(STAGES, stages, strict=True) for name, value in sums._asdict().items()}

    def couple(self, embedded: Batch, phase: Phase) -> Loss:
        first, second = (
            (embedded[f"{stage} wrong"] + self.box_weight * embedded[f"{stage} apart"]).sum() / embedded[f"{stage} count"].sum() for stage in STAGES
        )
        right = (embedded["regions right"].sum(), embedded["regions count"].sum())
        return Loss(first + self.region_weight * second, None, {"accuracy": right})
