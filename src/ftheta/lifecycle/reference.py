"""What the model that training starts from says of every example, worked out once, kept as a stage, and given with the data.

Objectives that compare with it (preference learning) then need no second model in memory, and a resumed run reads the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture, call
from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import Attempt
from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import ConfigError, Problem
from ftheta.core.log import logger
from ftheta.data.source import Dataset
from ftheta.data.stages import digest, home, stage
from ftheta.lifecycle.recipe import Recipe
from ftheta.models.folder import load as load_model

ROWS = 16
"""Examples looked at together."""


class WithColumns(Dataset):
    """A data set with further values of every row."""

    def __init__(self, dataset: Dataset, columns: dict[str, Tensor], fingerprint: str):
        self.dataset = dataset
        self.columns = columns
        self.content = fingerprint

    @property
    def ports(self) -> Ports:
        ports = self.dataset.ports
        return Ports({}, {**ports.gives, **dict.fromkeys(self.columns, "real B")}, ports.sizes)

    @property
    def fingerprint(self) -> str:
        return self.content

    @property
    def units_per_example(self) -> int:
        return self.dataset.units_per_example

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, rows: Tensor) -> Batch:
        return {**self.dataset.batch(rows), **{name: values[rows] for name, values in self.columns.items()}}


def with_reference(recipe: Recipe, splits: dict[str, Dataset]) -> dict[str, Dataset]:
    """The splits, with what the start says of them if the objective compares with it. Raises ConfigError when there is no start."""
    objective = recipe.objective
    if not objective.compares:
        return splits
    if recipe.start is None:
        raise ConfigError([Problem(("objective",), f"'{objective.name}' compares with the model that training starts from: say `start: FOLDER`, or choose another form")])
    model = load_model(recipe.start).architecture
    start = tensor_files.fingerprint(model.theta())
    found: dict[str, Dataset] = {}
    for name, split in splits.items():
        def build(attempt: Attempt, split: Dataset = split, name: str = name) -> None:
            logger.info("what the model said before, of %s %s examples ...", f"{len(split):,}", name)
            attempt.write("columns.safetensors", *tensor_files.pieces(columns(recipe, model, split)))

        key = {"start": start, "data": split.fingerprint, "objective": objective.name}
        place = stage(home() / "stages", "reference", key, build)
        found[name] = WithColumns(split, tensor_files.read(place / "columns.safetensors"), digest([split.fingerprint, start]))
    return found


def columns(recipe: Recipe, model: Architecture, split: Dataset) -> dict[str, Tensor]:
    """The objective's reference values of every row."""
    parts = [
        recipe.objective.reference(model, lambda batch: call(model, batch), split.batch(torch.arange(first, min(first + ROWS, len(split)))))
        for first in range(0, len(split), ROWS)
    ]
    return {name: torch.cat([part[name] for part in parts]).float() for name in parts[0]}
