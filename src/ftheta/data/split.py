"""Which documents or examples train, which are looked at during training, and which are kept for the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from ftheta.core.config import Config
from ftheta.core.errors import DataError
from ftheta.core.late import torch
from ftheta.core.random import generator, key

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("train", "validation", "test")


class Split(Config):
    """Which share of the documents is kept for checking; the rest trains."""

    validation: float = Field(default=0.05, ge=0, lt=1)
    """Looked at during training."""
    test: float = Field(default=0.05, ge=0, lt=1)
    """Looked at once, at the end."""
    near: float | None = Field(default=None, gt=0, lt=1)
    """Documents that have at least this share of their words in common (Jaccard, of short runs of words) stay in one part, as equal documents always do (text)."""
    seed: int | None = None
    """Which split, apart from the recipe's seed, so that runs with other seeds are measured on the same documents; none: the recipe's seed."""


def assign(names: Sequence[str], split: Split, seed: int) -> dict[str, list[int]]:
    """Documents in an order given by hashes of (seed, name): the first share validates, the next tests, the rest trains."""
    parts = divide(np.array([key(seed, "split", name) for name in names], np.uint64), np.arange(len(names)), split)
    return {name: (parts == number).nonzero()[0].tolist() for number, name in enumerate(SPLITS)}


def divide(keys: np.ndarray, groups: np.ndarray, split: Split) -> np.ndarray:
    """For documents with hashes (n,) uint64 the number of their part in SPLITS (n,) int8.

    `groups` (n,) names for each the document that it belongs with, itself if none: those of a group stay together and have that document's
    place in the order. Raises DataError when there are too few.
    """
    total = len(keys)
    validation = max(1, round(split.validation * total)) if split.validation else 0
    test = max(1, round(split.test * total)) if split.test else 0
    heads, which, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(keys[heads], kind="stable")
    before = np.cumsum(sizes[order]) - sizes[order]                                        # documents of the groups that come first
    found = np.empty(len(heads), np.int8)
    found[order] = np.select(
        [before < validation, before < validation + test], [SPLITS.index("validation"), SPLITS.index("test")], SPLITS.index("train"),
    )
    wanted = [name for name, size in (("train", 1), ("validation", validation), ("test", test)) if size]
    if any(not (found == SPLITS.index(name)).any() for name in wanted):
        shares = " and ".join(f"{name} {size:,}" for name, size in (("validation", validation), ("test", test)) if size)
        raise DataError(f"data.split: {total:,} documents cannot be split into {shares} and some to train on; give more documents or smaller shares")
    return found[which]


def stratified(labels: Tensor, shares: dict[str, float], seed: int) -> dict[str, Tensor]:
    """Rows (n,) for every named share, drawn class by class so that each part has the classes in the same proportion.

    The shares are of all rows; what they leave is not returned. A part is sorted by row, so it depends on the seed alone.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in shares}
    for value in labels.unique().tolist():
        rows = (labels == value).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator(seed, "split", value))]
        edges = [round(len(rows) * sum(list(shares.values())[:number])) for number in range(len(shares) + 1)]
        for number, part in enumerate(parts.values()):
            part.append(rows[edges[number] : edges[number + 1]])
    return {name: torch.cat(part).sort().values for name, part in parts.items()}
