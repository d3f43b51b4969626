"""Learning vectors by comparing texts or pictures: what belongs together points one way, by the cosine c(a, b) of two vectors.

    in_batch  -log softmax_j(c(a_i, b_j) / τ)_i over all b of the batch and all negatives         InfoNCE, van den Oord et al. 2018, arXiv:1807.03748
    simcse    the same, a_i and b_i being one text under two draws of dropout                     Gao et al. 2021, arXiv:2104.08821
    views     the mean over all 2N views v of a batch of -log softmax_w(c(v, w) / τ)_v', w ≠ v, v' the other view of
              v's picture, each view being the picture under random changes of its own            SimCLR, Chen et al. 2020, arXiv:2002.05709
              (what is compared are a network's features, or the `embedding` that a `projected` one makes of them)
    cosent    log(1 + Σ exp((c_i - c_j) / τ)) over all pairs i, j with score_i < score_j          Su 2022, https://kexue.fm/archives/8847
    cosine    Σ (c_i - score_i)²                                                                  Reimers & Gurevych 2019, arXiv:1908.10084
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, PrivateAttr, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.core.random import Draws
from ftheta.data.augment.colour import Colour
from ftheta.data.augment.moving import ResizedCrop
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.processors.processor import Processor
from ftheta.objectives.objective import NO_GRADIENTS, Coupled, Phase, Run
from ftheta.objectives.views import Views, refuse_mixing, views_of

SIDES = ("first", "second")
NO_DROPOUT = "two passes over a text would give the same vector, which teaches nothing; use a trunk with dropout (model.trunk.dropout: 0.1), or pairs of texts"


class Contrastive(Coupled):
    """Texts, or views of a picture, that belong together get vectors that point one way."""

    kind: Literal["contrastive"] = "contrastive"
    form: Literal["in_batch", "simcse", "views", "cosent", "cosine"] = "in_batch"
    """Which loss: pairs against the other pairs of the batch, texts against themselves, pictures against themselves, or pairs with scores (cosent orders
    them, cosine meets them)."""
    temperature: float = Field(default=0.05, gt=0)
    """Divides the cosines: τ. (Not for cosine.)"""
    views: Views = (ResizedCrop(), Colour())
    """Random changes that make two views of a picture, in order; only such as look at nothing but the picture (views)."""
    both: bool = False
    """Whether the first text is also to be found from the second; the loss is the mean of both directions (in_batch)."""

    _processor: ImageProcessor | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def pictures_alone(self) -> Contrastive:
        refuse_mixing(self.views)
        return self

    @property
    def couples(self) -> bool:
        return self.form != "cosine"

    def with_tokens(self, processor: Processor) -> Self:
        told = self.model_copy()
        told._processor = processor if isinstance(processor, ImageProcessor) else None
        return told

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        """Of pictures (B, C, H, W) both views, the one in their place and the other as `other`."""
        if self.form != "views":
            return batch
        one, other = views_of(batch["image"], self._processor, self.views, draws, len(SIDES))
        return {**batch, "image": one, "other": other}

    def needs(self) -> Needs:
        if self.form == "views":
            return Needs(reads={"image": "image B C H W"}, feeds={"image": "image B C H W"}, wants={"features": "real B D"}, traits={"gradients": NO_GRADIENTS})
        wants, gradients = {"embedding": "real B D"}, {"gradients": NO_GRADIENTS}
        if self.form == "simcse":
            return Needs(reads={"tokens": "ids B T"}, wants=wants, traits={**gradients, "dropout": NO_DROPOUT})
        reads = {name: "ids B T" for side in SIDES for name in (side, f"{side}_documents")}
        more = {"negative?": "ids B T", "negative_documents?": "ids B T"} if self.form == "in_batch" else {"score": "real B"}
        return Needs(reads={**reads, **more}, feeds={"tokens": "ids B T", "documents": "ids B T"}, wants=wants, traits=gradients)

    def embed(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Batch:
        if self.form == "simcse":
            return {side: run(batch)["embedding"] for side in SIDES}
        if self.form == "views":
            said = [run({"image": batch[name]}) for name in ("image", "other")]
            return {side: found.get("embedding", found["features"]) for side, found in zip(SIDES, said, strict=True)}
        sides = (*SIDES, "negative") if self.form == "in_batch" and "negative" in batch else SIDES
        found = {side: run({"tokens": batch[side], "documents": batch[f"{side}_documents"]})["embedding"] for side in sides}
        return found if self.form == "in_batch" else {**found, "score": batch["score"]}

    def couple(self, embedded: Batch, phase: Phase) -> Loss:
        first, second, *others = (unit(embedded[side]) for side in (*SIDES, "negative") if side in embedded)
        if self.form == "views":
            return of_views(first, second, self.temperature)
        if self.form in ("in_batch", "simcse"):
            return info_nce(first, second, others[0] if others else None, self.temperature, self.both)
        cosine, score = (first * second).sum(-1), embedded["score"].to(first)
        if self.form == "cosine":
            return Loss((cosine - score).square().sum(), len(cosine))
        scaled = cosine / self.temperature
        wrong = (scaled[:, None] - scaled[None, :])[score[:, None] < score[None, :]]              # how far a lower score is ahead of a higher one
        return Loss(torch.cat([wrong.new_zeros(1), wrong]).logsumexp(0), None)

    def tasks(self) -> dict[str, str]:
        return {"tokens": "sentence-similarity", "image": "image-feature-extraction"}


def info_nce(first: Tensor, second: Tensor, negative: Tensor | None, temperature: Tensor | float, both: bool) -> Loss:
    """Mean cross-entropy of finding each first's second (B, D), vectors of length 1, among all seconds and all negatives (N, D); `both` the mean of both directions."""
    candidates = second if negative is None else torch.cat([second, negative])
    scores, right = first @ candidates.t() / temperature, torch.arange(len(first), device=first.device)
    total = F.cross_entropy(scores, right)
    if both:
        total = (total + F.cross_entropy(scores[:, : len(second)].t(), right)) / 2
    found = (scores.detach().argmax(-1) == right).sum()
    return Loss(total, None, {"found": (found, len(first))})


def of_views(first: Tensor, second: Tensor, temperature: float) -> Loss:
    """Mean cross-entropy of finding each view's other view among all other views of the batch, of both views (N, D) of all pictures, vectors of length 1."""
    n = len(first)
    every = torch.cat([first, second])
    scores = (every @ every.t() / temperature).fill_diagonal_(float("-inf"))
    right = torch.arange(2 * n, device=first.device).roll(n)
    return Loss(F.cross_entropy(scores, right), None, {"found": ((scores.detach().argmax(-1) == right).sum(), 2 * n)})


def unit(vectors: Tensor) -> Tensor:
    """Vectors (B, D) of length 1, in float32 or, where they are, float64."""
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)
