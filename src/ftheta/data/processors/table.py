"""Rows of a table ↔ tensors: which columns in which order, (x - mean) / std of each if wished, class numbers ↔ names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ftheta.core.contract import Batch
from ftheta.core.errors import DataError, suggest
from ftheta.data.processors.processor import Processor


class TableProcessor(Processor):
    """Named columns of numbers."""

    kind = "table"

    def __init__(self, names: Sequence[str], mean: Sequence[float] = (), std: Sequence[float] = (), labels: Sequence[str] = ()):
        """`mean` and `std` hold one number a column, or none to leave numbers as they are."""
        self.names = list(names)
        self.mean = list(mean)
        self.std = list(std)
        self.labels = list(labels)

    @classmethod
    def standard(cls, names: Sequence[str], features: Tensor, labels: Sequence[str] = ()) -> Self:
        """With the mean and standard deviation of these rows (N, D); a column that never changes is only shifted."""
        std = features.std(0, correction=0)
        return cls(names, features.mean(0).tolist(), torch.where(std > 0, std, 1.0).tolist(), labels)

    def normalise(self, features: Tensor) -> Tensor:
        """(N, D) float64, every column to the mean 0 and variance 1 of the training rows, if so wished."""
        if not self.mean:
            return features
        return (features - torch.tensor(self.mean, dtype=torch.float64)) / torch.tensor(self.std, dtype=torch.float64)

    def encode(self, rows: Sequence[Any]) -> Batch:
        """`features` (B, D) of rows given as lists in the order of `names`, or as mappings from name to number.

        Raises DataError naming the row and column that does not fit.
        """
        if not len(rows):
            raise DataError("no rows were given")
        return {"features": self.normalise(torch.tensor([self.row(values, f"row {number}") for number, values in enumerate(rows)], dtype=torch.float64))}

    def row(self, values: Any, place: str) -> list[float]:
        if isinstance(values, Mapping):
            if unknown := [str(name) for name in values if name not in self.names]:
                raise DataError(f"{place}: there is no such column, got '{unknown[0]}'{suggest(unknown[0], self.names, 'columns')}")
            if missing := [name for name in self.names if name not in values]:
                raise DataError(f"{place}: column '{missing[0]}' is missing" + (f", and {len(missing) - 1} more" if missing[1:] else ""))
            values = [values[name] for name in self.names]
        elif isinstance(values, str | bytes) or not isinstance(values, Sequence):
            raise DataError(f"{place}: expected a list of {len(self.names)} numbers or a mapping of column to number, got {values!r:.60}")
        if len(values) != len(self.names):
            raise DataError(f"{place}: {len(values)} numbers for {len(self.names)} columns ({', '.join(self.names[:8])}{', ...' if self.names[8:] else ''})")
        return [number(value, f"{place}, column '{name}'") for name, value in zip(self.names, values, strict=True)]

    def label(self, index: int) -> str:
        """The name of a class; its number where it has none."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def dump(self) -> dict[str, Any]:
        return {"kind": self.kind, "names": self.names, "mean": self.mean, "std": self.std, "labels": self.labels}

    @classmethod
    def load(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        return cls(facts["names"], facts["mean"], facts["std"], facts["labels"])


def number(value: Any, place: str) -> float:
    """A finite number, given as one or spelled out. Raises DataError naming the place."""
    if isinstance(value, str) and not value.strip():
        raise DataError(f"{place}: is empty; fill it in, or leave the row or column out")
    if isinstance(value, bool):
        return float(value)
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise DataError(f"{place}: expected a number, got {value!r:.60}") from None
    if not math.isfinite(found):
        raise DataError(f"{place}: {value!r:.60} is not a finite number")
    return found
