"""`regions`, two stages (Faster R-CNN, Ren et al. 2015, arXiv:1506.01497, on a pyramid: Lin et al. 2016, arXiv:1612.03144). Anchors say where something is, whatever
it is; those that are surest, and do not hide each other, are regions; of every region a square of so many pixels is cut out of the map for its size, and
two layers say of it which class it is, or nothing, and how the thing differs from the region. In training the boxes that are there are regions as well.

The square is cut as by RoIAlign (He et al. 2017, arXiv:1703.06870): each of its pixels is the mean of points spread evenly over its part of the region, each
point between four pixels of the map by its distance to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.blocks.activation import ActivationName, activate
from ftheta.blocks.anchor_head import Anchors, Ratios, Scales, decoded
from ftheta.blocks.detection_head import DetectionHead, alone
from ftheta.blocks.initialise import normal
from ftheta.blocks.linear import Linear
from ftheta.core.boxes import area, stays
from ftheta.core.config import Part

ROOT = 14.0
"""How many strides at least the root of a region's area is on the map for its size (224 pixels at stride 16); what is smaller is cut out of the finest."""
SURE = 4
"""Times as many anchors as regions are looked at, the surest."""


class Regions(DetectionHead):
    """Besides boxes and logits, of the first stage what `anchors` gives with a single class, and of the second the regions (B, R, 4), `region_offsets` (B, R, 4) and
    `region_logits` (B, R, K + 1), of which the last says that there is nothing.
    """

    def __init__(
        self, width: int, strides: Sequence[int], classes: int, depth: int, norm: Part, activation: ActivationName, *,
        scales: Scales = (4.0,), ratios: Ratios = (1.0, 2.0, 0.5),
        regions: Annotated[int, Field(gt=0, description="How many the second stage looks at.")] = 64,
        overlap: Annotated[float, Field(ge=0, le=1, description="The largest IoU of two regions.")] = 0.7,
        pixels: Annotated[int, Field(gt=0, description="Pixels across and down that are cut out for a region.")] = 7,
        samples: Annotated[int, Field(gt=0, description="Points across and down that each of them is the mean of.")] = 2,
        hidden: Annotated[int, Field(gt=0, description="Width of the two layers that look at them.")] = 256,
    ):
        super().__init__(width, strides, classes, depth, norm, activation)
        self.activation: ActivationName = activation
        self.regions, self.overlap, self.pixels, self.samples = regions, overlap, pixels, samples
        self.propose = Anchors(width, strides, 1, depth, norm, activation, scales=scales, ratios=ratios)
        self.first, self.second = Linear(width * pixels**2, hidden), Linear(hidden, hidden)
        self.answer, self.sides = Linear(hidden, classes + 1), Linear(hidden, 4)

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        first = {**Anchors.gives(arguments), "anchor_logits": "logits B L 2"}
        return {**first, "regions": "boxes B R 4", "region_offsets": "real B R 4", "region_logits": "logits B R M"}

    @staticmethod
    def takes() -> dict[str, str]:
        return {"given?": "boxes B N 4"}

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int], given: Tensor | None = None) -> dict[str, Tensor]:
        proposed = self.propose(maps, size)
        regions = self.surest(proposed["boxes"], proposed["logits"][..., 0], size, given if self.training else None)
        cut = aligned(maps, self.strides, regions, self.pixels, self.samples)             # (B, R, C, pixels, pixels)
        hidden = activate(self.activation, self.second(activate(self.activation, self.first(cut.flatten(2)))))
        logits, offsets = self.answer(hidden), self.sides(hidden)
        offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
        first = {name: proposed[name] for name in Anchors.gives({})}
        second = {"regions": regions, "region_offsets": offsets, "region_logits": logits}
        return {"boxes": decoded(offsets, regions), "logits": alone(logits), **first, **second}

    @torch.no_grad()
    def surest(self, boxes: Tensor, scores: Tensor, size: tuple[int, int], given: Tensor | None = None) -> Tensor:
        """(B, R, 4) of boxes (B, L, 4) and scores (B, L): those that are given (B, N, 4), padded by zeros, then those that stay of the surest, then, should they be too
        few, the surest of the others.
        """
        scores, place = scores.float().topk(min(SURE * self.regions, scores.shape[1]), dim=1)
        edges = boxes.new_tensor([size[1], size[0], size[1], size[0]])
        found = torch.minimum(boxes.gather(1, place[..., None].expand(-1, -1, 4)).clamp(min=0), edges)
        stay = stays(found, torch.zeros_like(place), self.overlap)
        rank = (~stay).long()
        if given is not None:
            found, there = torch.cat([given.to(found), found], 1), area(given) > 0
            rank = torch.cat([torch.where(there, -1, 2), rank], 1)
        order = rank.argsort(dim=1, stable=True)[:, : self.regions]
        return found.gather(1, order[..., None].expand(-1, -1, 4))

    def initialise(self, seed: int, place: str) -> None:
        """Anchors as they say; the layers that look at regions N(0, 2 / fan_in), what they answer N(0, 0.01²)."""
        self.propose.initialise(seed, f"{place}.propose")
        for name, part in (("first", self.first), ("second", self.second)):
            normal(part.weight, (2 / part.weight.shape[1]) ** 0.5, seed, f"{place}.{name}.weight")
        for name, part in (("answer", self.answer), ("sides", self.sides)):
            normal(part.weight, 0.01, seed, f"{place}.{name}.weight")


def aligned(maps: Sequence[Tensor], strides: Sequence[int], regions: Tensor, pixels: int, samples: int) -> Tensor:
    """(B, R, C, pixels, pixels): what maps (B, C, h, w) show in regions (B, R, 4) that lie inside of the picture, each on the map for its size."""
    level = map_of(regions, strides)
    part = (torch.arange(pixels * samples, dtype=regions.dtype, device=regions.device) + 0.5) / (pixels * samples)
    x, y = (regions[..., i, None] + part * (regions[..., i + 2] - regions[..., i])[..., None] for i in (0, 1))            # (B, R, pixels · samples)
    found = regions.new_zeros(())
    for number, (hidden, stride) in enumerate(zip(maps, strides, strict=True)):
        across, down = (2 * points / (stride * side) - 1 for points, side in ((x, hidden.shape[3]), (y, hidden.shape[2])))
        grid = torch.stack(torch.broadcast_tensors(across[:, :, None, :], down[:, :, :, None]), -1).flatten(1, 2)
        seen = F.grid_sample(hidden.to(grid.dtype), grid, mode="bilinear", padding_mode="border", align_corners=False)
        seen = F.avg_pool2d(seen, samples).unflatten(2, (regions.shape[1], pixels)).transpose(1, 2)
        found = torch.where((level == number)[:, :, None, None, None], seen, found)
    return found.to(maps[0].dtype)


def map_of(regions: Tensor, strides: Sequence[int]) -> Tensor:
    """(B, R): the number of the coarsest map on which a region (B, R, 4) is still `ROOT` strides large, of all the finest if there is none."""
    root = (regions[..., 2:] - regions[..., :2]).prod(-1).sqrt()
    return sum(((root >= ROOT * stride).long() for stride in strides[1:]), torch.zeros_like(root, dtype=torch.long))
