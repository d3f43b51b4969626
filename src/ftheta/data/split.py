"""Which documents or examples train, which are looked at during training, and which are kept for the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from ftheta.core.config import Config
from ftheta.core.errors import DataError
from ftheta.core.random import generator, key

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
