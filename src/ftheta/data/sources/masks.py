"""Pictures with the class of every pixel: a mask file beside each, or COCO's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from ftheta.core.contract import Ports
from ftheta.data.frame import Size, frame_of
from ftheta.data.images import UNKNOWN, MaskDataset, Values
from ftheta.data.pictures.coco import CocoSource, pixels, read_coco
from ftheta.data.pictures.found import Found
from ftheta.data.pictures.reader import Role
from ftheta.data.pictures.source import Example, FolderSource, PictureSource
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.read.account import Account, Bad
from ftheta.data.read.bad import BadFile
from ftheta.data.read.pictures import decode_values, is_picture
from ftheta.data.read.walk import matches

BACKGROUND = "background"


class MaskPictures(PictureSource):
    """A source of pictures with masks."""

    def ports(self) -> Ports:
        return self.sized_ports(MaskDataset.answers)

    def laid(self, classes: np.ndarray) -> np.ndarray:
        """Classes (h, w) uint8 of a picture in its frame (H, W); what is outside the picture is not known."""
        from PIL import Image

        return np.asarray(frame_of(classes.shape, self.size, self.fit).lay(Image.fromarray(classes), "nearest", UNKNOWN))     # type: ignore[arg-type]

    def masks_of(self, examples: Sequence[Example]) -> Values:
        """Their masks (N, H, W) uint8."""
        return examples[0].found.masks.stored([example.answer for example in examples])

    def dataset(self, examples: Sequence[Example], names: Sequence[str], processor: ImageProcessor) -> MaskDataset:
        return MaskDataset(examples[0].found.pictures.stored([example.row for example in examples]), self.masks_of(examples), names, processor)


class Masks(MaskPictures, FolderSource):
    """Pictures and masks in folders of their own, or in those of an archive, called alike: `image/3.jpg`, `label/3.png`."""

    kind: Literal["masks"] = "masks"
    pictures: tuple[str, ...] = ("**/image/*", "**/images/*")
    """Patterns of the pictures."""
    masks: tuple[str, ...] = ("**/label/*", "**/labels/*", "**/mask/*", "**/masks/*")
    """Patterns of the masks: grey, or with a palette, a number for each pixel."""
    classes: Mapping[str, int]
    """The classes, in the order of their numbers in training, and the number in a mask that stands for each: `{membrane: 0, cell: 255}`."""
    unknown: int | None = Field(None, ge=0, le=255)
    """The number in a mask that stands for pixels whose class is not known."""

    @model_validator(mode="after")
    def distinct(self) -> Masks:
        values = [*self.classes.values(), *([] if self.unknown is None else [self.unknown])]
        if not self.classes or len(set(values)) < len(values) or not all(0 <= value <= 255 for value in values):
            raise ValueError(f"classes: each needs a number of its own from 0 to 255, and so has unknown; got {dict(self.classes)}, {self.unknown}")
        return self

    def role(self, name: str) -> Role:
        if not is_picture(name) or not self.takes(name):
            return ""
        return "mask" if matches(name, self.masks) else "picture" if matches(name, self.pictures) else ""

    def mask(self, data: bytes) -> tuple[np.ndarray, Size]:
        values = decode_values(data)
        table = np.full(256, -1, np.int16)
        for number, value in enumerate(self.classes.values()):
            table[value] = number
        if self.unknown is not None:
            table[self.unknown] = UNKNOWN
        classes = table[values]
        if (classes < 0).any():
            strange = sorted(set(values[classes < 0].tolist()))
            raise BadFile(f"a mask with the value {strange[0]}{f' and {len(strange) - 1} more' if strange[1:] else ''}, which data.source.classes gives no class")
        return self.laid(classes.astype(np.uint8)), (values.shape[0], values.shape[1])

    def examples(self, found: Found, account: Account) -> list[Example]:
        pictures, masks = found.stems(found.pictures), found.stems(found.masks)
        examples = []
        for stem in [*pictures, *(masks.keys() - pictures.keys())]:
            row, mask = pictures.get(stem), masks.get(stem)
            reason = "a mask without a picture" if row is None else "a picture without a mask" if mask is None else ""
            if row is not None and mask is not None and found.pictures.sizes[row] != found.masks.sizes[mask]:
                own, its = found.pictures.sizes[row], found.masks.sizes[mask]
                reason = f"a picture of {own[0]}×{own[1]} pixels whose mask has {its[0]}×{its[1]}"
            if reason:
                account.good -= 1
                account.refuse(Bad(found.masks.names[mask or 0] if row is None else found.pictures.names[row], None, 0, 0, reason), self.on_bad)
            else:
                examples.append(Example(found, row or 0, mask))
        return examples

    def names(self, examples: Sequence[Example]) -> list[str]:
        return list(self.classes)


class COCOMasks(MaskPictures, CocoSource):
    """Microsoft COCO's shapes of things as the classes of pixels: `background`, then the categories; what comes later lies on top."""

    kind: Literal["coco_masks"] = "coco_masks"

    def examples(self, found: Found, account: Account) -> list[Example]:
        coco = read_coco(self.path)
        numbers = {category: number for number, category in enumerate(sorted(coco.classes), 1)}
        examples = []
        for row, image in coco.joined(found, account, self.on_bad):
            shapes: list[tuple[int, dict[str, Any]]] = []
            for thing in image.things:
                try:
                    pixels(thing, found.pictures.sizes[row])
                    shapes.append((numbers[thing["category_id"]], thing))
                except ValueError as reason:
                    account.refuse(Bad(f"{self.path}, annotation {thing.get('id')}", None, 0, 0, str(reason)), self.on_bad)
            examples.append(Example(found, row, shapes))
        return examples

    def names(self, examples: Sequence[Example]) -> list[str]:
        coco = read_coco(self.path)
        return [BACKGROUND, *(coco.classes[category] for category in sorted(coco.classes))]

    def masks_of(self, examples: Sequence[Example]) -> Values:
        masks = []
        for example in examples:
            size = example.found.pictures.sizes[example.row]
            classes = np.zeros(size, np.uint8)
            for number, thing in example.answer:
                classes[pixels(thing, size)] = number
            masks.append(torch.from_numpy(self.laid(classes).copy()))
        return torch.stack(masks)
