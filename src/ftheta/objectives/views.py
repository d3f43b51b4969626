"""Views of a picture: random changes of it that look at nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from ftheta.core.config import Slot
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError, Problem
from ftheta.core.random import Draws
from ftheta.data.augment import AUGMENTATIONS
from ftheta.data.augment.augmentation import Augmentation
from ftheta.data.augment.mixing import CutMix, MixUp, Mosaic
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.source import Mates

Views = tuple[Annotated[Augmentation, Slot(AUGMENTATIONS)], ...]
"""Random changes that make a view of a picture, in order."""
ALONE = Mates(None, lambda wanted: {})
"""What changes that look at nothing but the picture know of other pictures."""


def refuse_mixing(views: Views) -> None:
    """Raise ConfigError for a change that needs other pictures."""
    for number, change in enumerate(views):
        if isinstance(change, MixUp | CutMix | Mosaic):
            raise ConfigError([Problem(("views", number), f"'{change.name}' mixes pictures, and the views of a picture show it alone: leave it out")])


def views_of(image: Tensor, processor: ImageProcessor | None, views: Sequence[Augmentation], draws: Draws, count: int) -> list[Tensor]:
    """So many views (B, C, H, W) of every picture, each changed by draws of its own."""
    found = []
    for _ in range(count):
        view: Batch = {"image": image if processor is None else processor.plain(image)}
        for change in views:
            view = change(view, draws, ALONE)
        found.append((view if processor is None else processor.normalise(view))["image"])
    return found
