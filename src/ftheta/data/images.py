"""Pictures at hand: 8-bit tensors in memory, given out as float32 in [0, 1]."""

from __future__ import annotations

import torch
import xxhash
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import DataError
from ftheta.data.source import Dataset


class ImageDataset(Dataset):
    """images (N, C, H, W) uint8 and labels (N,) int64, which index `names`; a batch has `image` float32 and `label`."""

    def __init__(self, images: Tensor, labels: Tensor, names: tuple[str, ...]):
        if images.dtype != torch.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
            raise DataError(f"images must be uint8 (N, C, H, W) with one label each, got {images.dtype} {tuple(images.shape)} and {tuple(labels.shape)} labels")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
            raise DataError(f"labels must be 0 to {len(names) - 1}, got {int(labels.min())} to {int(labels.max())}")
        self.images = images.contiguous()
        self.labels = labels.long()
        self.names = names

    @property
    def ports(self) -> Ports:
        _, channels, height, width = self.images.shape
        return image_ports(channels, len(self.names), height, width)

    @property
    def fingerprint(self) -> str:
        digest = xxhash.xxh3_128(repr((tuple(self.images.shape), self.names)).encode())
        digest.update(self.images.numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> Batch:
        return {"image": self.images[rows].float() / 255, "label": self.labels[rows]}

    def subset(self, rows: Tensor) -> ImageDataset:
        """A data set of some of the examples."""
        return ImageDataset(self.images[rows], self.labels[rows], self.names)


def image_ports(channels: int, classes: int, height: int, width: int) -> Ports:
    """What labelled pictures give."""
    return Ports(gives={"image": "image B C H W", "label": "label B"}, sizes={"C": channels, "K": classes, "H": height, "W": width})
