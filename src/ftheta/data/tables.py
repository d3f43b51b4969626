"""Tables: rows of numbers with, for each row, a class, a number or nothing to predict."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.data.processors.table import TableProcessor
from ftheta.data.source import Dataset
from ftheta.data.stages import digest


class TableDataset(Dataset):
    """features (N, D) float64, as exact as they were read, and an answer for every row: label (N,) of named classes, target (N,) float64, or none."""

    def __init__(
        self, features: Tensor, names: Sequence[str], *, label: Tensor | None = None, target: Tensor | None = None, classes: Sequence[str] = (),
        processor: TableProcessor | None = None,
    ):
        """`processor` is what brought the features to their present scale, when something did."""
        self.columns: Batch = {"features": features.double()}
        if label is not None:
            self.columns["label"] = label
        if target is not None:
            self.columns["target"] = target.double()
        self.names = list(names)
        self.classes = list(classes)
        self.processor = processor or TableProcessor(names, labels=classes)

    @property
    def ports(self) -> Ports:
        gives = {"features": "features B D", "label": "label B", "target": "real B"}
        sizes = {"D": len(self.names), **({"K": len(self.classes)} if "label" in self.columns else {})}
        return Ports(gives={name: gives[name] for name in self.columns}, sizes=sizes)

    @property
    def fingerprint(self) -> str:
        return digest([self.names, self.classes, *(digest(column.contiguous().numpy().tobytes()) for column in self.columns.values())])

    def __len__(self) -> int:
        return len(self.columns["features"])

    def batch(self, rows: Tensor) -> Batch:
        return {name: column[rows] for name, column in self.columns.items()}

    def select(self, rows: Tensor) -> TableDataset:
        """A table of some of the rows."""
        return self.with_columns(self.batch(rows), self.processor)

    def scaled(self, processor: TableProcessor) -> TableDataset:
        """The table with its features on the processor's scale."""
        return self.with_columns({**self.columns, "features": processor.normalise(self.columns["features"])}, processor)

    def with_columns(self, columns: Batch, processor: TableProcessor) -> TableDataset:
        return TableDataset(
            columns["features"], self.names, label=columns.get("label"), target=columns.get("target"), classes=self.classes, processor=processor,
        )


def split(table: TableDataset, validation: float, test: float, draws: torch.Generator) -> dict[str, TableDataset]:
    """Rows in a random order, cut into test, validation and train; an empty part is left out. Whoever asks for a part gets at least one row."""
    order = torch.randperm(len(table), generator=draws)
    parts: dict[str, TableDataset] = {}
    for name, share in (("test", test), ("validation", validation)):
        rows = max(1, round(share * len(table))) if share else 0
        if rows:
            parts[name] = table.select(order[:rows])
            order = order[rows:]
    return {"train": table.select(order), **parts}
