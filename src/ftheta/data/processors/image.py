"""Pictures ↔ tensors: size, colour and scale checked, then (x - mean) / std per channel; class numbers ↔ names.

Training pictures, already in [0, 1], go through `normalise`; pictures from outside go through `encode`, which ends in it. In the model
folder it is a `preprocessor_config.json` that Hugging Face image processors read too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from torch import Tensor

from ftheta.core.contract import Batch
from ftheta.core.errors import DataError, FolderError
from ftheta.data.boxes import visible, window
from ftheta.data.frame import Fit, Frame, Resample, Size, frame_of, middle
from ftheta.data.processors.processor import Processor
from ftheta.data.read.bad import BadFile
from ftheta.data.read.pictures import LARGEST_FILE, Decoded, decode

FILE = "preprocessor_config.json"
RESAMPLES: dict[str, int] = {"nearest": 0, "bilinear": 2, "bicubic": 3}
"""Ways to resize → their numbers in other people's files."""


class ImageProcessor(Processor):
    """Pictures of one size (height, width) and number of channels (1 grey, 3 colour)."""

    kind = "image"

    def __init__(
        self, size: Size | None = None, channels: int = 3, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,), labels: Sequence[str] = (), *,
        fit: Fit = "stretch", crop: Size | None = None, resample: Resample = "bilinear",
    ):
        """`size` None takes pictures of any size, all of a batch alike; `mean` and `std` hold one number or one a channel.

        `fit` says how files come to that size; of what they are then the model sees the middle, of size `crop`.
        """
        if len(mean) not in (1, channels) or len(std) not in (1, channels) or min(std) <= 0:
            raise FolderError(f"{FILE}: image_mean and image_std need one number or {channels}, std above 0; got {list(mean)} and {list(std)}")
        if fit not in get_args(Fit) or resample not in RESAMPLES:
            raise FolderError(f"fit is one of {', '.join(get_args(Fit))} and resample one of {', '.join(RESAMPLES)}, got {fit!r} and {resample!r}")
        if size and crop and (crop[0] > size[0] or crop[1] > size[1]):
            raise FolderError(f"crop {crop[0]}×{crop[1]} is larger than size {size[0]}×{size[1]}, of which it is the middle")
        self.size = size
        self.channels = channels
        self.mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(std, dtype=torch.float32)[:, None, None]
        self.labels = list(labels)
        self.fit: Fit = fit
        self.crop = crop
        self.resample: Resample = resample

    def frame(self, picture: Size) -> Frame:
        """Where a picture of this height and width lies in what the model sees."""
        frame = frame_of(picture, self.size, self.fit)
        if self.crop is None:
            return frame
        return frame._replace(top=frame.top + middle(frame.size[0], self.crop[0]), left=frame.left + middle(frame.size[1], self.crop[1]), size=self.crop)

    def normalise(self, batch: Batch) -> Batch:
        """The batch with its image (B, C, H, W) in [0, 1] centred and scaled."""
        image = batch["image"]
        return {**batch, "image": (image - self.mean.to(image)) / self.std.to(image)}

    def plain(self, image: Tensor) -> Tensor:
        """What `normalise` has made (B, C, H, W), in [0, 1] again."""
        return image * self.std.to(image) + self.mean.to(image)

    def finish(self, batch: Batch) -> Batch:
        """The middle of the images (B, C, H, W), of masks and boxes what lies in it, then `normalise`."""
        return self.normalise(batch if self.crop is None else cropped(batch, self.crop))

    def encode(self, pictures: Sequence[Any]) -> Batch:
        """`image` (B, C, H, W) of arrays, nested lists or picture files. Raises DataError saying which one does not fit and why.

        An array is (H, W), (H, W, C) or (C, H, W), whole numbers 0 to 255 or fractions 0 to 1, and must have the right size. A
        `Path` or `bytes` is a picture file (read by pillow), resized if need be; text is never taken for a path, since it may come
        from a stranger.
        """
        return self.placed(pictures)[0]

    def placed(self, pictures: Sequence[Any]) -> tuple[Batch, list[Frame]]:
        """What `encode` gives, and where each picture lies in what the model sees of it."""
        if not len(pictures):
            raise DataError("no pictures were given")
        images, frames = [], []
        for number, picture in enumerate(pictures):
            try:
                image, own = self.decode_file(picture) if isinstance(picture, Path | bytes) else self.check_array(picture)
            except DataError as error:
                raise DataError(f"{picture if isinstance(picture, Path) else f'picture {number}'}: {error}") from None
            images.append(image)
            frames.append(self.frame(own) if self.crop is None or image.shape[1:] != self.crop else frame_of(self.crop, None, self.fit))
        if len({image.shape for image in images}) > 1:
            raise DataError(f"pictures of one batch must have one size, got {', '.join(sorted({f'{i.shape[1]}×{i.shape[2]}' for i in images}))}")
        return self.finish({"image": torch.stack(images)}), frames

    def check_array(self, picture: Any) -> tuple[Tensor, Size]:
        """(C, H, W) float32 in [0, 1], and its size."""
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
            grey = self.channels == 1 and array.ndim == 3 and 3 in array.shape[::2]
            raise DataError(f"shape {np.shape(picture)} does not fit: expected {self.expected()}" + ("; a picture file in colour would be made grey" if grey else ""))
        return torch.from_numpy(array.astype(np.float32)) / most, (array.shape[1], array.shape[2])

    def fits(self, size: tuple[int, ...]) -> bool:
        return self.size is None or tuple(size) in (self.size, self.crop)

    def expected(self) -> str:
        height, width = self.size or ("H", "W")
        grey = f"({height}, {width}), " if self.channels == 1 else ""
        return f"{grey}({height}, {width}, {self.channels}) or ({self.channels}, {height}, {width})"

    def decode_file(self, file: Path | bytes) -> tuple[Tensor, Size]:
        """(C, H, W) in [0, 1] of a picture file, made grey or colour and laid into its frame, and its own size. Raises DataError."""
        if self.channels not in (1, 3):
            raise DataError(f"picture files have 1 or 3 channels here, and this model wants {self.channels}: give arrays")
        try:
            data = file if isinstance(file, bytes) else contents(file)
            decoded = decode(data, self.channels)
            return torch.from_numpy(self.pixels(decoded)).float() / 255, (decoded.picture.height, decoded.picture.width)
        except BadFile as reason:
            raise DataError(str(reason)) from None

    def pixels(self, decoded: Decoded) -> np.ndarray:
        """(C, H, W) uint8: the picture in its frame, before the middle is taken; what training data keep on the disk."""
        picture = decoded.picture
        laid = np.asarray(frame_of((picture.height, picture.width), self.size, self.fit).lay(picture, self.resample))
        return np.array(laid.reshape(*laid.shape[:2], -1).transpose(2, 0, 1), order="C")

    def label(self, index: int) -> str:
        """The name of a class; its number where it has none."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def dump(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "size": list(self.size) if self.size else None, "channels": self.channels, "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(), "labels": self.labels, "fit": self.fit, "crop": list(self.crop) if self.crop else None, "resample": self.resample,
        }

    def files(self) -> dict[str, bytes]:
        """`preprocessor_config.json`, where those who read such files know of such a frame; bars at the sides have no name there."""
        size, crop = self.size, self.crop
        square = size is not None and size[0] == size[1]
        if self.fit == "letterbox" or (self.fit == "crop" and not square):
            return {}
        facts: dict[str, Any] = {
            "image_processor_type": "ViTImageProcessor", "do_resize": size is not None, "do_rescale": True, "rescale_factor": 1 / 255,
            "resample": RESAMPLES[self.resample], "do_normalize": True, "image_mean": self.mean.expand(self.channels, 1, 1).flatten().tolist(),
            "image_std": self.std.expand(self.channels, 1, 1).flatten().tolist(),
        }
        if size:
            facts["size"] = {"height": size[0], "width": size[1]}
        if size and self.fit == "crop":
            facts |= {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": size[0]}, "do_convert_rgb": self.channels == 3}
            crop = crop or size
        if crop:
            facts |= {"image_processor_type": "BitImageProcessor", "do_center_crop": True, "crop_size": {"height": crop[0], "width": crop[1]}}
        return {FILE: (json.dumps(facts, indent=1) + "\n").encode()}

    @classmethod
    def load(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        """From our own facts; what they do not say is read from `preprocessor_config.json` where there is one."""
        said = {**({} if "mean" in facts else foreign(folder / FILE)), **facts}
        size, crop = (tuple(map(int, said[name])) if said.get(name) else None for name in ("size", "crop"))
        return cls(
            size, said.get("channels", 3), said.get("mean", (0.0,)), said.get("std", (1.0,)), said.get("labels", ()),              # type: ignore[arg-type]
            fit=said.get("fit", "stretch"), crop=crop, resample=said.get("resample", "bilinear"),                                  # type: ignore[arg-type]
        )


def contents(file: Path) -> bytes:
    """The bytes of a picture file. Raises BadFile."""
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadFile(f"cannot be read: {error.strerror or error}") from None
    if len(data) > LARGEST_FILE:
        raise BadFile(f"a file of more than {LARGEST_FILE:,} bytes")
    return data


def cropped(batch: Batch, size: Size) -> Batch:
    """The middle of all pictures and masks (..., H, W), and of boxes (..., 4) what lies in it; boxes that lie outside become padding."""
    height, width = batch["image"].shape[-2:]
    if height < size[0] or width < size[1]:
        raise DataError(f"{height}×{width} pixels are too few to take {size[0]}×{size[1]} out of")
    top, left = middle(size[0], height), middle(size[1], width)
    middles = {name: batch[name][..., top : top + size[0], left : left + size[1]] for name in ("image", "mask") if name in batch}
    if "boxes" not in batch:
        return {**batch, **middles}
    moved = batch["boxes"] - torch.tensor([left, top, left, top]).to(batch["boxes"])
    return {**batch, **middles, **visible(moved, batch["box_label"], window(size, moved))}


def foreign(path: Path) -> dict[str, Any]:
    """What a Hugging Face image processor's file says; nothing when there is no such file. Raises FolderError."""
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FolderError(f"{path} cannot be read: {error}") from None
    resampled = {number: name for name, number in RESAMPLES.items()}.get(facts.get("resample", 2))
    if resampled is None:
        raise FolderError(f"{path}: resample {facts['resample']} is not known (expected one of {RESAMPLES})")
    found: dict[str, Any] = {"resample": resampled}
    size, edge = sides(path, facts.get("size"), facts)
    if facts.get("do_resize", True) and size is not None:
        found |= {"size": size, "fit": "crop" if edge else "stretch"}
        if "crop_pct" in facts and edge:                                                  # ConvNeXT's: small pictures are cut, large ones stretched
            larger = int(size[0] / facts["crop_pct"])
            found |= {"size": (larger, larger), "crop": size} if size[0] < 384 else {"fit": "stretch"}
    if facts.get("do_center_crop"):
        found["crop"] = sides(path, facts.get("crop_size"), facts)[0]
    scale, offset = 255 * facts.get("rescale_factor", 1 / 255) if facts.get("do_rescale", True) else 255.0, float(facts.get("rescale_offset", False))
    mean, std = (numbers(facts.get(name, default)) if facts.get("do_normalize", True) else [default] for name, default in (("image_mean", 0.0), ("image_std", 1.0)))
    again = numbers(facts.get("image_std", 1.0)) if facts.get("include_top") else [1.0]    # EfficientNet's classifier divides twice
    both = [(m, s, a) for m, s, a in zip(*(n * max(len(mean), len(std), len(again)) if len(n) == 1 else n for n in (mean, std, again)), strict=True)]
    return {**found, "mean": [(m + offset) / scale for m, _, _ in both], "std": [s * a / scale for _, s, a in both]}


def numbers(value: float | Sequence[float]) -> list[float]:
    return [float(value)] if isinstance(value, int | float) else list(value)


def sides(path: Path, size: Any, facts: Mapping[str, Any]) -> tuple[Size | None, bool]:
    """Height and width, and whether they are only the shortest edge's. Raises FolderError."""
    edge = isinstance(size, Mapping) and "shortest_edge" in size
    if isinstance(size, Mapping):
        size = (size["shortest_edge"],) * 2 if edge else (size.get("height"), size.get("width"))
    elif size is not None:
        edge, size = bool(facts.get("do_center_crop")) and size is facts.get("size"), (size, size)        # an older file says one number for both
    if size is not None and not all(isinstance(side, int) and side > 0 for side in size):
        raise FolderError(f"{path}: the size {facts.get('size')} is not understood (expected height and width, or shortest_edge)")
    return size, edge
