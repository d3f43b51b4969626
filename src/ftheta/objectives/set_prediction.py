"""A set of boxes at once (DETR, Carion et al. 2020, arXiv:2005.12872): every box of a picture is given to one query, no query to two, such that

    Σ (-w_c p(class) + w_b |box - box of the query|₁ + w_o (1 - giou))

is smallest over all ways to do that (Kuhn 1955, the Hungarian method, by scipy); sides are shares of the picture's, |·|₁ of middle and extent. Then

    Σ_q w_q (-log p_q(its class, or nothing)) / Σ_q w_q  +  v_b Σ |·|₁ / boxes  +  v_o Σ (1 - giou) / boxes

with w = 1 for queries that were given a box and `nothing` for others; boxes are those of the whole batch, at least 1. With `every_layer` the same is added for
what each layer of the decoder says, each with an assignment of its own.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.boxes import overlap
from ftheta.core.contract import PADDED, Batch, Loss, Needs
from ftheta.core.errors import MissingExtraError
from ftheta.objectives.objective import NO_GRADIENTS, Coupled, Phase, Run


class SetPrediction(Coupled):
    """Boxes around things, with their classes, each said by one query."""

    kind: Literal["set_prediction"] = "set_prediction"
    class_cost: float = Field(default=1.0, ge=0)
    """w_c, how much the class counts when boxes are given to queries."""
    box_cost: float = Field(default=5.0, ge=0)
    """w_b, how much middle and extent count then."""
    overlap_cost: float = Field(default=2.0, ge=0)
    """w_o, how much what box and query have in common counts then."""
    box_weight: float = Field(default=5.0, ge=0)
    """v_b, the weight of middle and extent in the loss."""
    overlap_weight: float = Field(default=2.0, ge=0)
    """v_o, the weight of what box and query have in common in the loss."""
    nothing: float = Field(default=0.1, gt=0)
    """The weight of queries that are to say that there is nothing: they are many."""
    every_layer: bool = True
    """Whether every layer of the decoder learns, or only the last."""

    def needs(self) -> Needs:
        return Needs(
            reads={"image": "image B C H W", "boxes": "boxes B N 4", "box_label": "label B N"},
            wants={"set_boxes": "boxes B S L 4", "set_logits": "logits B S L M"}, traits={"gradients": NO_GRADIENTS},
        )

    def embed(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Batch:
        """Sums of every picture and layer (B, S): of classes, their weights, middles and extents, and what is not in common; and how many boxes there are (B,)."""
        outputs = run(batch)
        boxes, logits = outputs["set_boxes"], outputs["set_logits"]
        if not self.every_layer:
            boxes, logits = boxes[:, -1:], logits[:, -1:]
        logits = logits.to(boxes.dtype)
        height, width = batch["image"].shape[2:]
        sides = boxes.new_tensor([width, height, width, height])
        said, truth = boxes / sides, batch["boxes"].to(boxes) / sides
        rows = [self.picture(said[i], logits[i], truth[i], batch["box_label"][i]) for i in range(len(boxes))]
        sums = [torch.stack(part) for part in zip(*rows, strict=True)]
        return {**dict(zip(("classes", "weights", "sides", "apart"), sums, strict=True)), "there": (batch["box_label"] != PADDED).sum(1)}

    def picture(self, boxes: Tensor, logits: Tensor, truth: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The sums (S,) of one picture from boxes (S, L, 4), logits (S, L, K + 1) and what there is, (N, 4) and (N,)."""
        real = label != PADDED
        truth, label = truth[real], label[real]
        nothing = logits.shape[2] - 1
        found = []
        for box, logit in zip(boxes, logits, strict=True):
            query, number = self.assigned(box, logit, truth, label)
            wanted = label.new_full((len(box),), nothing)
            wanted[query] = label[number]
            weight = torch.where(wanted == nothing, logit.new_tensor(self.nothing), logit.new_tensor(1.0))
            wrong = F.cross_entropy(logit, wanted, reduction="none")
            mine, its = box[query], truth[number]
            apart = (middles(mine) - middles(its)).abs().sum()
            found.append(((weight * wrong).sum(), weight.sum(), apart, (1 - overlap(mine, its, "giou")).sum()))
        classes, weights, sides, apart = (torch.stack(part) for part in zip(*found, strict=True))
        return classes, weights, sides, apart

    @torch.no_grad()
    def assigned(self, boxes: Tensor, logits: Tensor, truth: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and the numbers of the boxes that they are given, of boxes (L, 4), logits (L, K + 1) and what there is, (N, 4) and (N,)."""
        try:
            from scipy.optimize import linear_sum_assignment
        except ImportError:
            raise MissingExtraError("scipy", "vision", "objective 'set_prediction'") from None
        share = logits.softmax(-1)[:, label]
        apart = torch.cdist(middles(boxes), middles(truth), p=1)
        cost = self.box_cost * apart - self.class_cost * share - self.overlap_cost * overlap(boxes[:, None], truth[None], "giou")
        worst = torch.finfo(cost.dtype).max                                               # what is no number is given to nobody if that can be
        query, number = linear_sum_assignment(cost.nan_to_num(nan=worst, posinf=worst, neginf=worst).cpu().numpy())
        return torch.as_tensor(query, device=boxes.device), torch.as_tensor(number, device=boxes.device)

    def couple(self, embedded: Batch, phase: Phase) -> Loss:
        count = embedded["there"].sum().clamp(min=1)
        classes = (embedded["classes"].sum(0) / embedded["weights"].sum(0)).sum()
        sides, apart = (embedded[name].sum() / count for name in ("sides", "apart"))
        iou = len(embedded["apart"]) and 1 - embedded["apart"].detach()[:, -1].sum() / count
        return Loss(classes + self.box_weight * sides + self.overlap_weight * apart, None, {"giou": (iou * count, count)})

    def tasks(self) -> dict[str, str]:
        return {"image": "object-detection"}


def middles(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) from corners to middle and extent."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)
