"""Labelled pictures: the hand-written digits of scikit-learn (8×8, from UCI) and of MNIST (28×28, LeCun et al. 1998)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError, MissingExtraError
from ftheta.core.random import generator
from ftheta.data.catalogue import locate
from ftheta.data.images import ImageDataset, image_ports
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import ResidentSource
from ftheta.data.split import stratified

TEN = tuple("0123456789")


class Digits(ResidentSource):
    """1,797 grey 8×8 digits, shipped with scikit-learn; split at random, each class in the same proportion."""

    kind: Literal["digits"] = "digits"
    test: float = Field(default=0.2, gt=0, lt=1)
    """Share kept for the final measurement."""
    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share kept for measurements during training."""
    pictures: int | None = Field(default=None, gt=0)
    """Train on only so many, as many of each class as can be; none: on all that are left."""
    split_seed: int = 0
    """Which split; apart from the run's seed, so that runs with other seeds are measured on the same pictures."""

    def ports(self) -> Ports:
        return image_ports(1, 10, 8, 8)

    def processor(self, train: Dataset) -> ImageProcessor:
        return ImageProcessor((8, 8), 1, labels=TEN)

    def splits(self, cache: Path, seed: int) -> dict[str, Dataset]:
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise MissingExtraError("scikit-learn", "classical", "the source 'digits'") from None
        ink, target = load_digits(return_X_y=True)
        images = torch.from_numpy(np.rint(ink * (255 / 16)).astype(np.uint8)).reshape(-1, 1, 8, 8)      # ink is 0 to 16 there
        labels = torch.from_numpy(target.astype(np.int64))
        return divide(ImageDataset(images, labels, TEN), {"test": self.test, "validation": self.validation}, self.split_seed, self.pictures)


class MNIST(ResidentSource):
    """70,000 grey 28×28 digits: the official 10,000 for test, the rest for training and validation."""

    kind: Literal["mnist"] = "mnist"
    validation: float = Field(default=0.05, ge=0, lt=1)
    """Share of the official training pictures kept for measurements during training."""
    pictures: int | None = Field(default=None, gt=0)
    """Train on only so many, as many of each class as can be; none: on all that are left."""
    split_seed: int = 0
    """Which pictures these are."""

    def ports(self) -> Ports:
        return image_ports(1, 10, 28, 28)

    def processor(self, train: Dataset) -> ImageProcessor:
        return ImageProcessor((28, 28), 1, labels=TEN)

    def splits(self, cache: Path, seed: int) -> dict[str, Dataset]:
        folder = locate("mnist")
        official = [
            ImageDataset(read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3)[:, None], read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1).long(), TEN)
            for part in ("train", "t10k")
        ]
        return {**divide(official[0], {"validation": self.validation}, self.split_seed, self.pictures), "test": official[1]}


def divide(dataset: ImageDataset, shares: dict[str, float], seed: int, few: int | None = None) -> dict[str, Dataset]:
    """The named shares and, as `train`, what they leave, or a few of that. A share of 0 is left out."""
    shares = {name: share for name, share in shares.items() if share}
    if sum(shares.values()) >= 1:
        raise DataError(f"data.source: the shares of {' and '.join(shares)} leave nothing to train on")
    parts = stratified(dataset.labels, shares, seed)
    taken = torch.zeros(len(dataset), dtype=torch.bool)
    for rows in parts.values():
        taken[rows] = True
    left = dataset.subset((~taken).nonzero().flatten())
    if few is not None and few > len(left):
        raise DataError(f"data.source.pictures is {few:,}, and only {len(left):,} are left to train on: choose fewer, or leave it out")
    if few is not None and few < len(left):
        left = left.subset(evenly(left.labels, few, seed))
    return {"train": left, **{name: dataset.subset(rows) for name, rows in parts.items()}}


def evenly(labels: Tensor, count: int, seed: int) -> Tensor:
    """So many rows, drawn at random, of all classes as many as can be."""
    order = torch.randperm(len(labels), generator=generator(seed, "few"))
    place = torch.empty_like(order)
    for label in labels.unique():
        own = order[labels[order] == label]
        place[own] = torch.arange(len(own))                                               # the first of every class, the second of every class, ...
    return order[place[order].argsort(stable=True)][:count].sort().values


def read_idx(path: Path, dims: int) -> Tensor:
    """A gzipped IDX file of bytes: 0, 0, type 8, number of dimensions, the sizes as big-endian 32-bit numbers, the data."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    start = 4 + 4 * dims
    if data[:4] != bytes((0, 0, 8, dims)) or len(data) < start:
        raise DataError(f"{path} is not an IDX file of bytes with {dims} dimensions")
    shape = tuple(np.frombuffer(data, ">u4", dims, 4).tolist())
    if len(data) - start != int(np.prod(shape)):
        raise DataError(f"{path} says it holds {shape} bytes, but {len(data) - start:,} follow")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy())
