"""Which documents train, which are looked at during training, and which are kept for the end."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ftheta.core.config import Config
from ftheta.core.errors import DataError
from ftheta.core.random import key

SPLITS = ("train", "validation", "test")


class Split(Config):
    """Which share of the documents is kept for checking; the rest trains."""

    validation: float = Field(default=0.05, ge=0, lt=1)
    """Looked at during training."""
    test: float = Field(default=0.05, ge=0, lt=1)
    """Looked at once, at the end."""


def assign(names: Sequence[str], split: Split, seed: int) -> dict[str, list[int]]:
    """Documents in an order given by hashes of (seed, name): the first share validates, the next tests, the rest trains."""
    order = sorted(range(len(names)), key=lambda i: (key(seed, "split", names[i]), i))
    validation = max(1, round(split.validation * len(names))) if split.validation else 0
    test = max(1, round(split.test * len(names))) if split.test else 0
    if validation + test >= len(names):
        raise DataError(f"data.split: {len(names)} documents cannot be split into validation, test and training; give more documents or smaller shares")
    return {"validation": sorted(order[:validation]), "test": sorted(order[validation : validation + test]), "train": sorted(order[validation + test :])}
