"""Pictures at hand: 8-bit values in memory or mapped from the disk, given out as float32 in [0, 1], with a class, boxes or a mask each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
import xxhash
from torch import Tensor

from ftheta.core.contract import PADDED, Batch, Ports
from ftheta.core.errors import DataError
from ftheta.data.frame import Size
from ftheta.data.joined import Joined
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.source import GROUP, Dataset, Groups
from ftheta.data.stages import digest

UNKNOWN = 255
"""How a stored mask says that a pixel's class is not known."""


class Stored:
    """Rows of arrays (N, ...) uint8 on the disk, chosen by number, read when they are taken."""

    def __init__(self, joined: Joined, shape: tuple[int, ...], rows: Tensor, content: str):
        self.joined = joined
        self.shape = (len(rows), *shape)
        self.rows = rows
        self.content = content
        """A content address of all the arrays."""

    def __getitem__(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self.joined.take(self.rows[index].numpy()))

    def subset(self, index: Tensor) -> Stored:
        return Stored(self.joined, self.shape[1:], self.rows[index], self.content)


Values = Tensor | Stored


def chosen(values: Values, rows: Tensor) -> Values:
    return values[rows] if isinstance(values, Tensor) else values.subset(rows)


def content(values: Values) -> Any:
    """What it holds, as bytes or an address."""
    return values.contiguous().numpy().data if isinstance(values, Tensor) else digest([values.content, values.rows.tolist()]).encode()


class Pictures(Dataset, ABC):
    """images (N, C, H, W) uint8 and, in `columns`, what is said of each; a batch has `image` float32 as the processor gives it, and the rest."""

    answers: ClassVar[dict[str, str]]
    """The ports of what is said of a picture."""

    def __init__(self, images: Values, names: Sequence[str], processor: ImageProcessor | None = None):
        if isinstance(images, Tensor) and (images.dtype != torch.uint8 or images.ndim != 4):
            raise DataError(f"images must be uint8 (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
        self.images = images.contiguous() if isinstance(images, Tensor) else images
        self.names = tuple(names)
        self.processor = processor

    @abstractmethod
    def columns(self) -> dict[str, Values]:
        """What there is besides the images."""

    @abstractmethod
    def subset(self, rows: Tensor) -> Self:
        """A data set of some of the examples."""

    @property
    def ports(self) -> Ports:
        _, channels, height, width = self.images.shape
        size = (self.processor.crop if self.processor else None) or (height, width)
        return picture_ports(self.answers, channels, len(self.names), size)

    @property
    def fingerprint(self) -> str:
        digest = xxhash.xxh3_128(repr((tuple(self.images.shape), self.names)).encode())
        for values in (self.images, *self.columns().values()):
            digest.update(content(values))
        if self.processor is not None:
            facts = self.processor.dump()
            digest.update(repr([facts[name] for name in ("mean", "std", "crop")]).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return self.images.shape[0]

    def raw(self, rows: Tensor) -> Batch:
        return {"image": self.images[rows].float() / 255, **{name: values[rows] for name, values in self.columns().items()}}

    def finish(self, batch: Batch) -> Batch:
        return batch if self.processor is None else self.processor.finish(batch)

    def batch(self, rows: Tensor) -> Batch:
        return self.finish(self.raw(rows))


class ImageDataset(Pictures):
    """Pictures with a class each: `label` (B,), which indexes `names`; and, where it is known, a group."""

    answers: ClassVar[dict[str, str]] = {"label": "label B"}

    def __init__(self, images: Values, labels: Tensor, names: Sequence[str], processor: ImageProcessor | None = None, groups: Groups | None = None):
        super().__init__(images, names, processor)
        self.groups = groups
        if labels.shape != images.shape[:1]:
            raise DataError(f"images must have one label each, got {tuple(images.shape)} and {tuple(labels.shape)} labels")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
            raise DataError(f"labels must be 0 to {len(names) - 1}, got {int(labels.min())} to {int(labels.max())}")
        self.labels = labels.long()

    @property
    def ports(self) -> Ports:
        ports = super().ports
        return ports if self.groups is None else replace(ports, gives={**ports.gives, **GROUP})

    def columns(self) -> dict[str, Values]:
        return {"label": self.labels, **({} if self.groups is None else {"group": self.groups.numbers})}

    def subset(self, rows: Tensor) -> Self:
        groups = None if self.groups is None else self.groups._replace(numbers=self.groups.numbers[rows])
        return type(self)(chosen(self.images, rows), self.labels[rows], self.names, self.processor, groups)


class LabelsDataset(Pictures):
    """Pictures with any number of classes each: `labels` (B, K), whether it has the class."""

    answers: ClassVar[dict[str, str]] = {"labels": "mask B K"}

    def __init__(self, images: Values, labels: Tensor, names: Sequence[str], processor: ImageProcessor | None = None):
        super().__init__(images, names, processor)
        if labels.dtype != torch.bool or tuple(labels.shape) != (images.shape[0], len(names)):
            raise DataError(f"labels must be bool {(images.shape[0], len(names))}, got {labels.dtype} {tuple(labels.shape)}")
        self.labels = labels

    def columns(self) -> dict[str, Values]:
        return {"labels": self.labels}

    def subset(self, rows: Tensor) -> Self:
        return type(self)(chosen(self.images, rows), self.labels[rows], self.names, self.processor)


class BoxDataset(Pictures):
    """Pictures with boxes: `boxes` (B, N, 4), x₁ y₁ x₂ y₂ in pixels of the image, and `box_label` (B, N), -1 where there is none."""

    answers: ClassVar[dict[str, str]] = {"boxes": "boxes B N 4", "box_label": "label B N"}

    def __init__(self, images: Values, boxes: Tensor, labels: Tensor, names: Sequence[str], processor: ImageProcessor | None = None):
        super().__init__(images, names, processor)
        if boxes.shape != (images.shape[0], labels.shape[-1], 4) or labels.shape != boxes.shape[:2]:
            raise DataError(f"boxes must be (N, M, 4) and their labels (N, M), got {tuple(boxes.shape)} and {tuple(labels.shape)} for {images.shape[0]} images")
        if labels.numel() and not int(labels.min()) >= PADDED <= int(labels.max()) < len(names):
            raise DataError(f"labels must be 0 to {len(names) - 1}, or {PADDED} for none, got {int(labels.min())} to {int(labels.max())}")
        self.boxes = boxes.float()
        self.labels = labels.long()

    def columns(self) -> dict[str, Values]:
        return {"boxes": self.boxes, "box_label": self.labels}

    def subset(self, rows: Tensor) -> Self:
        return type(self)(chosen(self.images, rows), self.boxes[rows], self.labels[rows], self.names, self.processor)


class MaskDataset(Pictures):
    """Pictures with the class of every pixel: `mask` (B, H, W), -1 where it is not known."""

    answers: ClassVar[dict[str, str]] = {"mask": "label B H W"}

    def __init__(self, images: Values, masks: Values, names: Sequence[str], processor: ImageProcessor | None = None):
        super().__init__(images, names, processor)
        if tuple(masks.shape) != (images.shape[0], *images.shape[2:]):
            raise DataError(f"masks must be of their pictures' size, got {tuple(masks.shape)} for {tuple(images.shape)}")
        self.masks = masks

    def columns(self) -> dict[str, Values]:
        return {"mask": self.masks}

    def subset(self, rows: Tensor) -> Self:
        return type(self)(chosen(self.images, rows), chosen(self.masks, rows), self.names, self.processor)

    def raw(self, rows: Tensor) -> Batch:
        batch = super().raw(rows)
        mask = batch["mask"].long()
        return {**batch, "mask": mask.masked_fill(mask == UNKNOWN, PADDED)}


def picture_ports(answers: dict[str, str], channels: int, classes: int | None = None, size: Size | None = None) -> Ports:
    """What pictures give, and the sizes that are known."""
    sizes = {"C": channels, "K": classes, "H": size and size[0], "W": size and size[1]}
    return Ports(gives={"image": "image B C H W", **answers}, sizes={letter: value for letter, value in sizes.items() if value})


def image_ports(channels: int, classes: int, height: int, width: int) -> Ports:
    """What labelled pictures give."""
    return picture_ports({"label": "label B"}, channels, classes, (height, width))
