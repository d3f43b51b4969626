"""What becomes of boxes, x₁ y₁ x₂ y₂ in pixels from the left and the top, when pictures are moved and cut."""

from __future__ import annotations

import torch
from torch import Tensor

from ftheta.core.boxes import area
from ftheta.core.contract import PADDED, Batch
from ftheta.data.frame import Size


def window(size: Size, like: Tensor) -> Tensor:
    """(4,) the whole of a frame of this height and width as a box."""
    return torch.tensor([0, 0, size[1], size[0]]).to(like)


def visible(boxes: Tensor, label: Tensor, window: Tensor, least: float = 0.0) -> Batch:
    """`boxes` (B, N, 4) cut off at the edges of a window (4) or (B, 1, 4), and `box_label`; one of which no more than this share is left becomes padding."""
    cut = torch.cat([torch.minimum(torch.maximum(boxes[..., side], window[..., :2]), window[..., 2:]) for side in (slice(0, 2), slice(2, 4))], -1)
    gone = (area(cut) <= least * area(boxes)) | (label == PADDED)
    return {"boxes": cut.masked_fill(gone[..., None], 0.0), "box_label": label.masked_fill(gone, PADDED)}


def moved(boxes: Tensor, forward: Tensor) -> Tensor:
    """The upright boxes (B, N, 4) around boxes whose points (x, y) are moved by `forward` (B, 2, 3): forward · (x, y, 1)."""
    x, y = boxes[..., [0, 2, 0, 2]].double(), boxes[..., [1, 1, 3, 3]].double()           # (B, N, 4): the corners
    row = forward[:, :, None, None, :]                                                    # (B, 2, 1, 1, 3)
    across, down = (row[:, i, ..., 0] * x + row[:, i, ..., 1] * y + row[:, i, ..., 2] for i in (0, 1))
    return torch.stack([across.amin(-1), down.amin(-1), across.amax(-1), down.amax(-1)], -1).to(boxes)
