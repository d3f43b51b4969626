"""How pictures of any size are brought to one: where each comes to lie in its frame, and boxes with it, there and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ftheta.core.late import torch

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from torch import Tensor

Fit = Literal["stretch", "crop", "letterbox"]
"""`stretch` to the frame; fill the frame and `crop` what stands out on both sides; or fit inside it, with black bars (`letterbox`)."""
Resample = Literal["bilinear", "bicubic", "nearest"]
Size = tuple[int, int]
"""Height and width."""


class Frame(NamedTuple):
    """Where a picture lies in its frame."""

    picture: Size
    """What the picture is itself ..."""
    inner: Size
    """... what it is resized to ..."""
    top: int
    """... and where that begins in the frame; below 0: it is cut off there."""
    left: int
    size: Size
    """The frame."""

    def lay(self, picture: Picture, resample: Resample = "bilinear", fill: int = 0) -> Picture:
        """The picture in its frame."""
        from PIL import Image

        if self.inner != self.picture:
            picture = picture.resize((self.inner[1], self.inner[0]), Image.Resampling[resample.upper()])
        if self.inner == self.size:
            return picture
        canvas = Image.new(picture.mode, (self.size[1], self.size[0]), fill if picture.mode == "L" else (fill,) * 3)
        canvas.paste(picture, (self.left, self.top))
        return canvas

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4), x₁ y₁ x₂ y₂ in pixels of the picture → in pixels of the frame."""
        return boxes * self.scale(boxes) + self.offset(boxes)

    def back(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) in the frame → in the picture's own pixels, cut off at its edges."""
        height, width = self.picture
        edges = torch.tensor([width, height, width, height]).to(boxes)
        return torch.minimum(((boxes - self.offset(boxes)) / self.scale(boxes)).clamp(min=0), edges)

    def back_map(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Values (C, H, W) of the frame's pixels → (C, h, w) of the picture's own, bilinear, and (h, w) which of these the frame shows."""
        grid, seen = [], []
        for own, inner, offset, side in zip(self.picture, self.inner, (self.top, self.left), self.size, strict=True):
            place = (torch.arange(own, dtype=torch.float64) + 0.5) * (inner / own) + offset
            seen.append((place >= 0) & (place <= side))
            grid.append((place * (2 / side) - 1).to(values))                              # grid_sample counts from -1 to 1
        points = torch.stack([grid[1].expand(self.picture), grid[0][:, None].expand(self.picture)], -1)
        found = torch.nn.functional.grid_sample(values[None], points[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
        return found, seen[0][:, None] & seen[1]

    def scale(self, like: Tensor) -> Tensor:
        down, right = self.inner[0] / self.picture[0], self.inner[1] / self.picture[1]
        return torch.tensor([right, down, right, down]).to(like)

    def offset(self, like: Tensor) -> Tensor:
        return torch.tensor([self.left, self.top, self.left, self.top]).to(like)


def frame_of(picture: Size, size: Size | None, fit: Fit) -> Frame:
    """Where a picture of this height and width lies in a frame of this size; without a size the frame is the picture."""
    if size is None:
        return Frame(picture, picture, 0, 0, picture)
    (height, width), inner = picture, size
    if fit != "stretch":
        higher = size[0] * width >= size[1] * height                                      # the frame, in shape
        if fit == "crop":                                                                 # as transformers has it: the longer edge is rounded down
            inner = (size[0], max(size[1], size[0] * width // height)) if higher else (max(size[0], size[1] * height // width), size[1])
        else:
            inner = (max(1, round(size[1] * height / width)), size[1]) if higher else (size[0], max(1, round(size[0] * width / height)))
    return Frame(picture, inner, middle(inner[0], size[0]), middle(inner[1], size[1]), size)


def middle(inner: int, outer: int) -> int:
    """Where something of one length begins in the middle of another; below 0 if it is longer."""
    return (outer - inner) // 2 if inner <= outer else -((inner - outer) // 2)
