"""Tasks over pictures: name what is in one, turn one into a vector, say what every pixel shows, make new ones."""

from __future__ import annotations

import base64
import os
from abc import ABC
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from pydantic import Field

from ftheta.architectures.architecture import Outputs
from ftheta.core.config import Config
from ftheta.core.contract import PADDED
from ftheta.core.errors import DataError, UsageError
from ftheta.core.random import generator
from ftheta.data.frame import Frame
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.read.bad import BadFile
from ftheta.data.read.pictures import LARGEST_FILE, is_picture
from ftheta.data.read.stores import is_url, store
from ftheta.data.read.walk import folder
from ftheta.models.tasks.answers import Labelled, SeveralLabels, labelled, several_labels
from ftheta.models.tasks.task import Asked, O, Task


class Picture(Config):
    """A picture, as a file, as what is in one, or as numbers."""

    path: str | None = None
    """A picture file (needs pillow)."""
    data: str | None = None
    """What is in a picture file, in base64 (needs pillow)."""
    pixels: list[Any] | None = None
    """Nested lists, rows of columns (of channels): whole numbers 0 to 255 or shares 0 to 1."""


def given(picture: Picture, number: int) -> Path | bytes | list[Any]:
    """The picture as a processor takes it. Raises UsageError."""
    if sum(value is not None for value in (picture.path, picture.data, picture.pixels)) != 1:
        raise UsageError(f"picture {number}: give one of path, data, pixels")
    if picture.path is not None:
        return Path(picture.path)
    if picture.pixels is not None:
        return picture.pixels
    try:
        return base64.b64decode(picture.data or "", validate=True)
    except ValueError as error:
        raise UsageError(f"picture {number}: data is not base64 ({error})") from None


def fetched(address: str) -> bytes:
    """What lies behind an address. Raises DataError."""
    try:
        with store(address) as opened:
            data = opened.read(LARGEST_FILE + 1)
    except BadFile as reason:
        raise DataError(f"{address} {reason}") from None
    except OSError as error:
        raise DataError(f"{address} cannot be read ({error or type(error).__name__})") from None
    if len(data) > LARGEST_FILE:
        raise DataError(f"{address}: more than {LARGEST_FILE:,} bytes")
    return data


P = TypeVar("P", bound=Picture)


class OfPictures(Task[P, O, ImageProcessor], ABC, Generic[P, O]):
    """What is in a picture."""

    files = ("path",)

    def read(self, text: str) -> dict[str, Any]:
        return super().read(text) if text.lstrip().startswith(("{", "[")) else {"path": text}

    def asked(self, text: str, fetch: bool = False) -> list[Asked]:
        """A picture, all pictures of a folder and the folders in it, or the picture behind an address (https, s3, ...) if that is allowed."""
        if text.lstrip().startswith(("{", "[")):
            return super().asked(text)
        if is_url(text):
            if not fetch:
                raise UsageError(f"{text} is an address, and nothing is fetched unasked: allow it by --fetch, or give a file")
            return [Asked(text, {"data": base64.b64encode(fetched(text)).decode()})]
        if not os.path.isdir(text):
            return [Asked("", {"path": text})]
        found = [Asked(place, {"path": place}) for place, _, _ in folder(text, is_picture)]
        if not found:
            raise DataError(f"{text}: a folder without a picture")
        return found

    @torch.no_grad()
    def look(self, inputs: Sequence[P]) -> tuple[Outputs, list[Frame]]:
        """What the model gives for the pictures, and where each lies in what it sees. Raises UsageError, DataError."""
        batch, frames = self.processor.placed([given(picture, i) for i, picture in enumerate(inputs)])
        return self.architecture(image=batch["image"]), frames


class ImageClassification(OfPictures[Picture, Labelled]):
    """Name what is in a picture."""

    name = "image-classification"
    input = Picture
    output = Labelled

    def run(self, inputs: Sequence[Picture]) -> list[Labelled]:
        return labelled(self.look(inputs)[0]["logits"], self.processor)

    def show(self, output: Labelled) -> str:
        return output.line()


class PictureOfSeveral(Picture):
    """A picture, and how likely a class must be."""

    least: float = Field(default=0.5, ge=0, le=1)
    """The lowest probability of a class that is named."""


class MultiLabelImageClassification(OfPictures[PictureOfSeveral, SeveralLabels]):
    """Name all that is in a picture."""

    name = "multi-label-image-classification"
    input = PictureOfSeveral
    output = SeveralLabels

    def run(self, inputs: Sequence[PictureOfSeveral]) -> list[SeveralLabels]:
        return several_labels(self.look(inputs)[0]["logits"], [picture.least for picture in inputs], self.processor)

    def show(self, output: SeveralLabels) -> str:
        return output.line()


class Vector(Config):
    """What a model makes of a picture."""

    features: list[float]
    """One vector."""


class ImageFeatureExtraction(OfPictures[Picture, Vector]):
    """Turn a picture into a vector."""

    name = "image-feature-extraction"
    input = Picture
    output = Vector

    def run(self, inputs: Sequence[Picture]) -> list[Vector]:
        return [Vector(features=row) for row in self.look(inputs)[0]["features"].float().tolist()]

    def show(self, output: Vector) -> str:
        return " ".join(f"{value:.4f}" for value in output.features[:8]) + (" ..." if len(output.features) > 8 else "")


class Segmented(Config):
    """The class of every pixel."""

    mask: list[list[int]]
    """Rows of columns of the picture as it was given: which of `labels`, -1 where the model does not look (what `crop` cuts off)."""
    labels: list[str]
    """The classes."""
    shares: dict[str, float]
    """How much of what the model looks at is of each class."""


class ImageSegmentation(OfPictures[Picture, Segmented]):
    """Say of every pixel of a picture what it shows."""

    name = "image-segmentation"
    input = Picture
    output = Segmented

    def run(self, inputs: Sequence[Picture]) -> list[Segmented]:
        outputs, frames = self.look(inputs)
        names = [self.processor.label(i) for i in range(outputs["logits"].shape[1])]
        answers = []
        for logits, frame in zip(outputs["logits"].float(), frames, strict=True):
            values, seen = frame.back_map(logits.softmax(0))
            mask = values.argmax(0).masked_fill(~seen, PADDED)
            counts = torch.bincount(mask[seen], minlength=len(names))
            shares = {name: count / max(1, int(seen.sum())) for name, count in zip(names, counts.tolist(), strict=True)}
            answers.append(Segmented(mask=mask.tolist(), labels=names, shares=shares))
        return answers

    def show(self, output: Segmented) -> str:
        """Every class that is there, with its share of the picture."""
        there = sorted(output.shares.items(), key=lambda item: -item[1])
        return f"{len(output.mask)}×{len(output.mask[0])} pixels: " + ", ".join(f"{name} {share:.1%}" for name, share in there if share)


class Wish(Config):
    """Which picture to make."""

    label: str
    """Name of the class it should show."""
    seed: int = Field(default=0, ge=0)
    """Another seed, another picture."""


class Made(Config):
    """A picture the model made."""

    pixels: list[list[list[float]]]
    """Channels of rows of columns, 0 to 1."""


class ImageGeneration(Task[Wish, Made, ImageProcessor]):
    """Make a picture of a class."""

    name = "unconditional-image-generation"
    input = Wish
    output = Made

    def read(self, text: str) -> dict[str, Any]:
        return super().read(text) if text.lstrip().startswith("{") else {"label": text}

    @torch.no_grad()
    def run(self, inputs: Sequence[Wish]) -> list[Made]:
        classes = self.architecture.config.ports().sizes["K"]
        names = [self.processor.label(i) for i in range(classes)]
        for wish in inputs:
            if wish.label not in names:
                raise UsageError(f"label: '{wish.label}' is not a class this model knows ({', '.join(names)})")
        labels = torch.tensor([names.index(wish.label) for wish in inputs])
        width = self.architecture.config.ports().sizes["Z"]
        noise = torch.stack([torch.randn(width, generator=generator(wish.seed, "wish", wish.label)) for wish in inputs])
        return [Made(pixels=image.tolist()) for image in self.architecture(noise=noise, label=labels)["image"].clamp(0, 1)]

    def show(self, output: Made) -> str:
        """The picture in shades of characters."""
        shades = " .:-=+*#%@"
        return "\n".join("".join(shades[min(9, int(10 * v))] * 2 for v in row) for row in output.pixels[0])
