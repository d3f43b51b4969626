"""Tasks over rows of a table: name a class, guess a number, find the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.data.processors.table import TableProcessor
from ftheta.models.tasks.answers import Labelled, labelled
from ftheta.models.tasks.task import O, Task


class Row(Config):
    """One row, as a list in the order of the columns or as a mapping."""

    values: list[float] | None = None
    """Numbers in the order of the columns."""
    columns: dict[str, float] | None = None
    """Column name → number."""


class TabularTask(Task[Row, O, TableProcessor]):
    """What the tasks over rows share: reading them."""

    input = Row

    def features(self, inputs: Sequence[Row]) -> torch.Tensor:
        """(B, D) of rows given either way."""
        rows: list[Any] = []
        for i, row in enumerate(inputs):
            if (row.values is None) == (row.columns is None):
                raise UsageError(f"row {i}: give values or columns ({', '.join(self.processor.names[:8])}, ...)")
            rows.append(row.columns if row.values is None else row.values)
        return self.processor.encode(rows)["features"]


class TabularClassification(TabularTask[Labelled]):
    """Name the class of a row."""

    name = "tabular-classification"
    output = Labelled

    @torch.no_grad()
    def run(self, inputs: Sequence[Row]) -> list[Labelled]:
        return labelled(self.architecture(features=self.features(inputs))["logits"], self.processor)

    def show(self, output: Labelled) -> str:
        return output.line()


class Number(Config):
    """A guessed number."""

    value: float
    """In the units of the training data's target."""


class TabularRegression(TabularTask[Number]):
    """Guess a row's number."""

    name = "tabular-regression"
    output = Number

    @torch.no_grad()
    def run(self, inputs: Sequence[Row]) -> list[Number]:
        return [Number(value=value) for value in self.architecture(features=self.features(inputs))["value"].tolist()]

    def show(self, output: Number) -> str:
        return f"{output.value:.6g}"


class Cluster(Config):
    """The nearest cluster."""

    cluster: int
    """Its number."""
    distance: float
    """Distance to its centre."""


class Clustering(TabularTask[Cluster]):
    """Find a row's cluster."""

    name = "clustering"
    output = Cluster

    @torch.no_grad()
    def run(self, inputs: Sequence[Row]) -> list[Cluster]:
        outputs = self.architecture(features=self.features(inputs))
        nearest = outputs["distance"].min(-1)
        return [Cluster(cluster=int(c), distance=float(d)) for c, d in zip(nearest.indices, nearest.values, strict=True)]

    def show(self, output: Cluster) -> str:
        return f"cluster {output.cluster}  (distance {output.distance:.4g})"
