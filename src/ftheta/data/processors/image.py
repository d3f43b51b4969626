"""Pictures ↔ tensors: size, colour and scale checked, then (x - mean) / std per channel; class numbers ↔ names.

Training pictures, already in [0, 1], go through `normalise`; pictures from outside go through `encode`, which ends in it. In the model
folder it is a `preprocessor_config.json` that Hugging Face image processors read too.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ftheta.core.contract import Batch
from ftheta.core.errors import DataError, FolderError, MissingExtraError
from ftheta.data.processors.processor import Processor

FILE = "preprocessor_config.json"
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
LARGEST = 64_000_000
"""Pixels of a picture file; a larger one is refused before it is decoded."""


class ImageProcessor(Processor):
    """Pictures of one size (height, width) and number of channels (1 grey, 3 colour)."""

    kind = "image"

    def __init__(
        self, size: tuple[int, int] | None = None, channels: int = 3, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,), labels: Sequence[str] = (),
    ):
        """`size` None takes pictures of any size, all of a batch alike; `mean` and `std` hold one number or one a channel."""
        if len(mean) not in (1, channels) or len(std) not in (1, channels) or min(std) <= 0:
            raise FolderError(f"{FILE}: image_mean and image_std need one number or {channels}, std above 0; got {list(mean)} and {list(std)}")
        self.size = size
        self.channels = channels
        self.mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(std, dtype=torch.float32)[:, None, None]
        self.labels = list(labels)

    def normalise(self, batch: Batch) -> Batch:
        """The batch with its image (B, C, H, W) in [0, 1] centred and scaled."""
        image = batch["image"]
        return {**batch, "image": (image - self.mean.to(image)) / self.std.to(image)}

    def encode(self, pictures: Sequence[Any]) -> Batch:
        """`image` (B, C, H, W) of arrays, nested lists or picture files. Raises DataError saying which one does not fit and why.

        An array is (H, W), (H, W, C) or (C, H, W), whole numbers 0 to 255 or fractions 0 to 1, and must have the right size. A
        `Path` or `bytes` is a picture file (read by pillow), resized if need be; text is never taken for a path, since it may come
        from a stranger.
        """
        if not len(pictures):
            raise DataError("no pictures were given")
        images = []
        for number, picture in enumerate(pictures):
            try:
                images.append(self.decode_file(picture) if isinstance(picture, Path | bytes) else self.check_array(picture))
            except DataError as error:
                raise DataError(f"picture {number}: {error}") from None
        if len({image.shape for image in images}) > 1:
            raise DataError(f"pictures of one batch must have one size, got {', '.join(sorted({f'{i.shape[1]}×{i.shape[2]}' for i in images}))}")
        return self.normalise({"image": torch.stack(images)})

    def check_array(self, picture: Any) -> Tensor:
        """(C, H, W) float32 in [0, 1]."""
        if isinstance(picture, str):
            raise DataError("expected numbers, got text; for a picture file give a pathlib.Path or its bytes")
        try:
            array = np.asarray(picture)
        except (ValueError, TypeError, RuntimeError) as error:
            raise DataError(f"not an array of numbers: {error}") from None
        if array.dtype.kind not in "uif" or not array.size:
            raise DataError(f"expected an array of numbers, got {array.dtype} of shape {array.shape}")
        whole = array.dtype.kind in "ui"
        low, high, most = float(array.min()), float(array.max()), 255 if whole else 1
        if not (low >= 0 and high <= most):
            raise DataError(f"values go from {low:g} to {high:g}; " + ("whole numbers must be 0 to 255" if whole else "fractions must be 0 to 1"))
        if array.ndim == 2:
            array = array[None]
        elif array.ndim == 3 and array.shape[2] == self.channels and not (array.shape[0] == self.channels and self.fits(array.shape[1:])):
            array = array.transpose(2, 0, 1)
        if array.ndim != 3 or array.shape[0] != self.channels or not self.fits(array.shape[1:]):
            raise DataError(f"shape {np.shape(picture)} does not fit: expected {self.expected()}")
        return torch.from_numpy(array.astype(np.float32)) / most

    def fits(self, size: tuple[int, ...]) -> bool:
        return self.size is None or tuple(size) == self.size

    def expected(self) -> str:
        height, width = self.size or ("H", "W")
        grey = f"({height}, {width}), " if self.channels == 1 else ""
        return f"{grey}({height}, {width}, {self.channels}) or ({self.channels}, {height}, {width})"

    def decode_file(self, file: Path | bytes) -> Tensor:
        """(C, H, W) in [0, 1] of a picture file, made grey or colour and resized."""
        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError:
            raise MissingExtraError("pillow", "vision", "reading picture files") from None
        if self.channels not in (1, 3):
            raise DataError(f"picture files have 1 or 3 channels here, and this model wants {self.channels}: give arrays")
        try:
            data = file if isinstance(file, bytes) else file.read_bytes()
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                if picture.width * picture.height > LARGEST:
                    raise DataError(f"{picture.width}×{picture.height} pixels are more than the {LARGEST:,} allowed")
                picture = picture.convert("L" if self.channels == 1 else "RGB")
        except UnidentifiedImageError:
            raise DataError(f"not a picture file of a known format ({', '.join(FORMATS)})") from None
        except Image.DecompressionBombError:
            raise DataError(f"more than the {LARGEST:,} pixels allowed") from None
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}") from None
        if self.size is not None and (picture.height, picture.width) != self.size:
            picture = picture.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR)
        return self.check_array(np.asarray(picture))

    def label(self, index: int) -> str:
        """The name of a class; its number where it has none."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def dump(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "size": list(self.size) if self.size else None, "channels": self.channels, "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(), "labels": self.labels,
        }

    def files(self) -> dict[str, bytes]:
        facts: dict[str, Any] = {
            "image_processor_type": "ViTImageProcessor", "do_resize": self.size is not None, "do_rescale": True, "rescale_factor": 1 / 255, "resample": 2,
            "do_normalize": True, "image_mean": self.mean.expand(self.channels, 1, 1).flatten().tolist(),
            "image_std": self.std.expand(self.channels, 1, 1).flatten().tolist(),
        }
        if self.size:
            facts["size"] = {"height": self.size[0], "width": self.size[1]}
        return {FILE: (json.dumps(facts, indent=1) + "\n").encode()}

    @classmethod
    def load(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        """From our own facts; what they do not say is read from `preprocessor_config.json` where there is one."""
        theirs = {} if "mean" in facts else foreign(folder / FILE)
        size = facts.get("size", theirs.get("size"))
        return cls(
            (int(size[0]), int(size[1])) if size else None, facts.get("channels", 3), facts.get("mean", theirs.get("mean", (0.0,))),
            facts.get("std", theirs.get("std", (1.0,))), facts.get("labels", ()),
        )


def foreign(path: Path) -> dict[str, Any]:
    """Size, mean and std from a Hugging Face image processor's file; nothing when there is no such file."""
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FolderError(f"{path} cannot be read: {error}") from None
    size = facts.get("crop_size") if facts.get("do_center_crop") else facts.get("size")
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = (size.get("height", edge), size.get("width", edge))
    elif size is not None:
        size = (size, size)                                                               # an older file says one number for both
    if size is not None and not all(isinstance(side, int) and side > 0 for side in size):
        raise FolderError(f"{path}: the size {facts.get('size')} is not understood (expected height and width, or shortest_edge)")
    found: dict[str, Any] = {"size": size}
    if facts.get("do_normalize", True):
        found |= {"mean": facts.get("image_mean", (0.0,)), "std": facts.get("image_std", (1.0,))}
    return found
