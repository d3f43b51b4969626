"""Changes that mix pictures of one step. A class becomes a share of each class: `label` (B, K)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.core.contract import PADDED, Batch
from ftheta.core.random import Draws
from ftheta.data.augment.augmentation import LEAST, Augmentation, inverse, scaling
from ftheta.data.augment.colour import rectangle
from ftheta.data.augment.moving import moved_back
from ftheta.data.boxes import visible
from ftheta.data.source import Mates


class MixUp(Augmentation):
    """λ x + (1 - λ) x', λ ~ Beta(α, α), of a picture and another, and of their classes (Zhang et al. 2017, arXiv:1710.09412)."""

    kind: Literal["mixup"] = "mixup"
    reads: ClassVar[tuple[str, ...]] = ("image", "label")
    alpha: float = Field(default=0.2, gt=0)
    """α: near 0 one of the two all but vanishes, at 1 every λ is equally likely."""
    probability: float = Field(default=1.0, gt=0, le=1)
    """Share of pictures changed."""

    def __call__(self, batch: Batch, draws: Draws, mates: Mates) -> Batch:
        other = mates.at(draws.partners())
        share = torch.where(draws.uniform() < self.probability, draws.beta(self.alpha), 1.0)
        mixed = torch.lerp(other["image"], batch["image"], share[:, None, None, None])
        return {**batch, "image": mixed, "label": blended(batch, other, share, mates)}


class CutMix(Augmentation):
    """A rectangle of another picture pasted in, its area 1 - λ of the whole, λ ~ Beta(α, α), and as much of its class (Yun et al. 2019, arXiv:1905.04899)."""

    kind: Literal["cutmix"] = "cutmix"
    reads: ClassVar[tuple[str, ...]] = ("image", "label")
    alpha: float = Field(default=1.0, gt=0)
    """α: at 1 every area is equally likely."""
    probability: float = Field(default=1.0, gt=0, le=1)
    """Share of pictures changed."""

    def __call__(self, batch: Batch, draws: Draws, mates: Mates) -> Batch:
        image, other = batch["image"], mates.at(draws.partners())
        height, width = image.shape[2:]
        side = torch.where(draws.uniform() < self.probability, 1 - draws.beta(self.alpha), 0.0).sqrt()[:, None, None]
        top, left = draws.uniform(2)[:, :, None, None].unbind(1)
        pasted = rectangle(height, width, side * height, side * width, top, left)
        own = 1 - pasted.flatten(1).float().mean(1)
        return {**batch, "image": torch.where(pasted[:, None], other["image"], image), "label": blended(batch, other, own, mates)}


class Mosaic(Augmentation):
    """Four pictures around a point, each with a corner there, smaller than it was (Bochkovskiy et al. 2020, arXiv:2004.10934)."""

    kind: Literal["mosaic"] = "mosaic"
    probability: float = Field(default=1.0, gt=0, le=1)
    """Share of pictures changed."""
    smallest: float = Field(default=0.5, gt=0, le=1)
    """Least scale of a picture; each has one between this and 1."""
    centre: float = Field(default=0.25, ge=0, lt=0.5)
    """How far from the middle the point may be, as a share of the sides."""

    def __call__(self, batch: Batch, draws: Draws, mates: Mates) -> Batch:
        height, width = batch["image"].shape[2:]
        chosen = draws.uniform() < self.probability
        across, down = (((draws.uniform(2).double() * 2 - 1) * self.centre + 0.5) * torch.tensor([width, height])).round().unbind(1)
        scales = self.smallest + draws.uniform(4).double() * (1 - self.smallest)
        parts = [batch, *(mates.at(draws.partners()) for _ in range(3))]
        found: Batch = {**batch, "image": torch.zeros_like(batch["image"])}
        if "mask" in batch:
            found["mask"] = torch.full_like(batch["mask"], PADDED)
        boxes: list[Batch] = []
        shares: list[Tensor] = []
        row, column = torch.arange(height)[:, None], torch.arange(width)
        for place, (part, scale) in enumerate(zip(parts, scales.unbind(1), strict=True)):
            below, right = divmod(place, 2)
            forward = scaling(scale, scale, across - (0 if right else 1) * scale * width, down - (0 if below else 1) * scale * height)
            put = moved_back(inverse(forward), (height, width))(part)
            here = ((row >= down[:, None, None]) == bool(below)) & ((column >= across[:, None, None]) == bool(right))              # (B, H, W)
            found["image"] = torch.where(here[:, None], put["image"], found["image"])
            if "mask" in batch:
                found["mask"] = torch.where(here, put["mask"], found["mask"])
            if "boxes" in batch:
                edges = [across if right else across * 0, down if below else down * 0, across * 0 + width if right else across, down * 0 + height if below else down]
                boxes.append(visible(put["boxes"], put["box_label"], torch.stack(edges, -1)[:, None].to(put["boxes"]), LEAST))
            shares.append(here.flatten(1).float().mean(1))
        if "label" in batch:
            found["label"] = sum((soft(part, mates) * share[:, None] for part, share in zip(parts, shares, strict=True)), torch.zeros(()))
        for name in ("boxes", "box_label") if boxes else ():
            found[name] = torch.cat([part[name] for part in boxes], 1)
        return {name: kept(chosen, value, batch[name], name, mates) if name in batch else value for name, value in found.items()}


def soft(batch: Batch, mates: Mates) -> Tensor:
    """(B, K) the share of each class."""
    label = batch["label"]
    assert mates.classes is not None
    return label if label.ndim == 2 else F.one_hot(label, mates.classes).float()


def blended(batch: Batch, other: Batch, share: Tensor, mates: Mates) -> Tensor:
    """(B, K): so much of a picture's own classes, the rest of the other's."""
    return torch.lerp(soft(other, mates), soft(batch, mates), share[:, None])


def kept(chosen: Tensor, changed: Tensor, before: Tensor, name: str, mates: Mates) -> Tensor:
    """The changed rows where `chosen` (B,), the others as they were, padded to the same number of boxes."""
    if name == "label":
        before = soft({"label": before}, mates)
    if name in ("boxes", "box_label") and before.shape[1] < changed.shape[1]:
        more = changed.shape[1] - before.shape[1]
        before = torch.cat([before, before.new_full((len(before), more, *before.shape[2:]), 0 if name == "boxes" else PADDED)], 1)
    return torch.where(chosen.view(-1, *[1] * (changed.ndim - 1)), changed, before) if changed is not before else before
