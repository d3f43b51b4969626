"""`anchors` (SSD, Liu et al. 2015, arXiv:1512.02325): at every place of every map there are boxes of some sizes and shapes beforehand, and each says which class it
shows, or nothing, and how the thing's box differs from it. With scale s, ratio r and the map's stride, an anchor is s · stride · √r wide and s · stride / √r high.

Differences are as Ren et al. 2015, arXiv:1506.01497, have them, of middles (x, y) and extents (w, h), in steps of 0.1 and 0.2:

    ((x - x_a) / w_a / 0.1, (y - y_a) / h_a / 0.1, log(w / w_a) / 0.2, log(h / h_a) / 0.2)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from ftheta.blocks.activation import ActivationName
from ftheta.blocks.detection_head import DetectionHead, PlaceHead, alone, centres
from ftheta.blocks.initialise import normal
from ftheta.core.config import Part

STEPS = (0.1, 0.1, 0.2, 0.2)
MOST = math.log(1000 / 16)
"""The logarithm of how much larger a box can be than its anchor, so that no number becomes too large."""
SMALLEST = 1e-6
"""Pixels, instead of 0 below a fraction line and in a logarithm."""
Positive = Annotated[float, Field(gt=0)]
Scales = Annotated[tuple[Positive, ...], Field(min_length=1, description="Sizes of the anchors, in strides: the root of their area.")]
Ratios = Annotated[tuple[Positive, ...], Field(min_length=1, description="Shapes of the anchors, width by height; every size has each.")]


class Anchors(DetectionHead):
    """Besides boxes and logits, the anchors (B, L, 4), what they say of the differences, `offsets` (B, L, 4), and of the class, `anchor_logits` (B, L, K + 1), the
    last one nothing: p = softmax of these, and `logits` are those of one class against everything else, log p / (1 - p).
    """

    def __init__(
        self, width: int, strides: Sequence[int], classes: int, depth: int, norm: Part, activation: ActivationName, *,
        scales: Scales = (3.0, 4.2), ratios: Ratios = (1.0, 2.0, 0.5),
    ):
        super().__init__(width, strides, classes, depth, norm, activation)
        self.shapes = [(scale * math.sqrt(ratio), scale / math.sqrt(ratio)) for scale in scales for ratio in ratios]
        for i in range(len(strides)):
            self.add_module(str(i), PlaceHead(width, len(self.shapes) * (classes + 1), 4 * len(self.shapes), depth, norm, activation))

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"anchors": "boxes B L 4", "offsets": "real B L 4", "anchor_logits": "logits B L M"}

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int], given: Tensor | None = None) -> dict[str, Tensor]:
        anchors, offsets, logits = [], [], []
        for level, (stride, hidden) in enumerate(zip(self.strides, maps, strict=True)):
            said, sides = self.get_submodule(str(level))(hidden)
            anchors.append(self.around(centres(hidden, stride)).expand(hidden.shape[0], -1, -1))
            logits.append(self.each(said))
            offsets.append(self.each(sides))
        found, away, scores = torch.cat(anchors, 1), torch.cat(offsets, 1), torch.cat(logits, 1)
        away = away.to(torch.promote_types(away.dtype, torch.float32))
        return {"boxes": decoded(away, found), "logits": alone(scores), "anchors": found, "offsets": away, "anchor_logits": scores}

    def around(self, places: Tensor) -> Tensor:
        """The anchors (L · A, 4) of places (L, 3)."""
        extent = torch.tensor(self.shapes, device=places.device) * places[:, None, 2:]                            # (L, A, 2)
        return torch.cat([places[:, None, :2] - extent / 2, places[:, None, :2] + extent / 2], -1).flatten(0, 1)

    def each(self, said: Tensor) -> Tensor:
        """(B, A · n, h, w) → (B, h · w · A, n)."""
        return said.unflatten(1, (len(self.shapes), -1)).permute(0, 3, 4, 1, 2).flatten(1, 3)

    def initialise(self, seed: int, place: str) -> None:
        """The last layers N(0, 0.01²): all classes are as likely as nothing, and boxes are their anchors."""
        for level in range(len(self.strides)):
            head = self.get_submodule(str(level))
            assert isinstance(head, PlaceHead)
            normal(head.classes.weight, 0.01, seed, f"{place}.{level}.classes.weight")
            normal(head.sides.weight, 0.01, seed, f"{place}.{level}.sides.weight")


def coded(boxes: Tensor, anchors: Tensor) -> Tensor:
    """How boxes (..., 4) differ from anchors (..., 4); see the top of the file."""
    extent, own = (boxes[..., 2:] - boxes[..., :2]).clamp(min=SMALLEST), (anchors[..., 2:] - anchors[..., :2]).clamp(min=SMALLEST)
    away = (boxes[..., :2] + boxes[..., 2:] - anchors[..., :2] - anchors[..., 2:]) / 2 / own
    return torch.cat([away, (extent / own).log()], -1) / boxes.new_tensor(STEPS)


def decoded(offsets: Tensor, anchors: Tensor) -> Tensor:
    """The boxes (..., 4) that differ so from anchors (..., 4)."""
    found = offsets * offsets.new_tensor(STEPS)
    own = (anchors[..., 2:] - anchors[..., :2]).clamp(min=SMALLEST)
    middle = (anchors[..., :2] + anchors[..., 2:]) / 2 + found[..., :2] * own
    extent = found[..., 2:].clamp(max=MOST).exp() * own
    return torch.cat([middle - extent / 2, middle + extent / 2], -1)
