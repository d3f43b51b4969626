"""Tasks over pictures: name what is in one, make new ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.core.random import generator
from ftheta.data.processors.image import ImageProcessor
from ftheta.models.tasks.answers import Labelled, labelled
from ftheta.models.tasks.task import Task


class Picture(Config):
    """A picture, as a file or as numbers."""

    path: str | None = None
    """A picture file (needs pillow)."""
    pixels: list[Any] | None = None
    """Nested lists, rows of columns (of channels): whole numbers 0 to 255 or shares 0 to 1."""


class ImageClassification(Task[Picture, Labelled, ImageProcessor]):
    """Name what is in a picture."""

    name = "image-classification"
    input = Picture
    output = Labelled
    files = ("path",)

    def read(self, text: str) -> dict[str, Any]:
        return super().read(text) if text.lstrip().startswith(("{", "[")) else {"path": text}

    @torch.no_grad()
    def run(self, inputs: Sequence[Picture]) -> list[Labelled]:
        for i, picture in enumerate(inputs):
            if (picture.path is None) == (picture.pixels is None):
                raise UsageError(f"picture {i}: give path or pixels")
        batch = self.processor.encode([Path(picture.path) if picture.path is not None else picture.pixels for picture in inputs])
        return labelled(self.architecture(image=batch["image"])["logits"], self.processor)

    def show(self, output: Labelled) -> str:
        return output.line()


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
