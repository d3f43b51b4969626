"""Tables: the small ones that come with scikit-learn, and CSV files."""

from __future__ import annotations

import csv
import math
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError, MissingExtraError, suggest
from ftheta.core.log import logger
from ftheta.core.random import generator
from ftheta.data.processors.table import TableProcessor, number
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import ResidentSource
from ftheta.data.tables import TableDataset, split


class TableSource(ResidentSource):
    """A table cut into train, validation and test rows, columns brought to mean 0 and variance 1 of the training rows if wished."""

    test: float = Field(default=0.2, ge=0, lt=1)
    """Share of the rows kept for the final evaluation."""
    validation: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows kept for choosing between models."""
    standardise: bool = False
    """Whether every column is shifted and scaled to mean 0 and variance 1 of its training rows."""

    @model_validator(mode="after")
    def leaves_rows(self) -> TableSource:
        if self.test + self.validation >= 1:
            raise ValueError(f"test and validation take {self.test + self.validation:.0%} of the rows, which leaves none to train on")
        return self

    @abstractmethod
    def table(self) -> TableDataset:
        """All rows, as they are. Raises DataError."""

    def splits(self, cache: Path, seed: int) -> dict[str, Dataset]:
        table = self.table()
        parts = split(table, self.validation, self.test, generator(seed, "split"))
        if not len(parts["train"]):
            raise DataError(f"data.source: {len(table)} rows are too few to split")
        if self.standardise:
            scale = TableProcessor.standard(table.names, parts["train"].columns["features"], table.classes)
            parts = {name: part.scaled(scale) for name, part in parts.items()}
        return dict(parts)

    def processor(self, train: Dataset) -> TableProcessor:
        assert isinstance(train, TableDataset)
        return train.processor


class SklearnTable(TableSource):
    """A table that comes with scikit-learn: handwritten digits, diabetes progression, iris, wine, breast cancer."""

    kind: Literal["sklearn_table"] = "sklearn_table"
    name: Literal["breast_cancer", "diabetes", "digits", "iris", "wine"]
    """Which one; diabetes has a number to predict, the others a class."""

    def ports(self) -> Ports:
        answer = {"target": "real B"} if self.name == "diabetes" else {"label": "label B"}
        return Ports(gives={"features": "features B D", **answer})

    def table(self) -> TableDataset:
        try:
            from sklearn import datasets
        except ImportError:
            raise MissingExtraError("scikit-learn", "classical", f"the table '{self.name}'") from None
        found = getattr(datasets, f"load_{self.name}")()
        features, answer = torch.from_numpy(found.data), torch.from_numpy(found.target)
        names = [str(name) for name in found.feature_names]
        if self.name == "diabetes":
            return TableDataset(features, names, target=answer)
        return TableDataset(features, names, label=answer.long(), classes=[str(name) for name in found.target_names])


class CSV(TableSource):
    """A file of separated values, its first line the names of the columns."""

    kind: Literal["csv"] = "csv"
    path: str
    """The file, UTF-8."""
    target: str | None = None
    """The column to predict; none for clustering."""
    predict: Literal["class", "number"] = "class"
    """What the target is: a class, whatever it looks like, or a number."""
    features: tuple[str, ...] | None = None
    """Columns to predict from; all others that hold numbers when left out."""
    separator: str = Field(",", min_length=1, max_length=1)
    """What stands between values."""
    header: bool = True
    """Whether the first line names the columns; if not they are called 1, 2, 3, ..."""

    def ports(self) -> Ports:
        answer = {} if self.target is None else {"label": "label B"} if self.predict == "class" else {"target": "real B"}
        return Ports(gives={"features": "features B D", **answer})

    def table(self) -> TableDataset:
        names, rows = self.read()
        places = {name: i for i, name in enumerate(names)}
        for name in (*(self.features or ()), *([self.target] if self.target is not None else [])):
            if name not in places:
                raise DataError(f"{self.path} has no column '{name}'{suggest(name, names, 'columns')}")
        chosen = list(self.features) if self.features is not None else self.numeric(names, rows)
        if not chosen or self.target in chosen:
            reason = f"'{self.target}' is the target and cannot be a feature" if chosen else "no column but the target holds numbers"
            raise DataError(f"{self.path}: {reason}")
        features = torch.tensor([[number(row[places[name]], self.place(line, name)) for name in chosen] for line, row in rows], dtype=torch.float64)
        if self.target is None:
            return TableDataset(features, chosen)
        answers = [(row[places[self.target]].strip(), self.place(line, self.target)) for line, row in rows]
        if self.predict == "number":
            return TableDataset(features, chosen, target=torch.tensor([number(answer, place) for answer, place in answers], dtype=torch.float64))
        if empty := [place for answer, place in answers if not answer]:
            raise DataError(f"{empty[0]}: is empty; fill it in, or leave the row out")
        classes = sorted({answer for answer, _ in answers}, key=by_size)
        if len(classes) > max(20, len(answers) // 10) and all(is_number(name) for name in classes):
            raise DataError(f"{self.path}: '{self.target}' has {len(classes):,} different numbers in {len(answers):,} rows, too many for classes: "
                            "set data.source.predict to number")
        index = {name: i for i, name in enumerate(classes)}
        return TableDataset(features, chosen, label=torch.tensor([index[answer] for answer, _ in answers]), classes=classes)

    def place(self, line: int, column: str) -> str:
        return f"{self.path}, line {line}, column '{column}'"

    def read(self) -> tuple[list[str], list[tuple[int, list[str]]]]:
        """Names of the columns, and every row with its line number. Raises DataError naming file and line."""
        rows: list[tuple[int, list[str]]] = []
        for line, row in self.lines():
            if rows and len(row) != len(rows[0][1]):
                raise DataError(f"{self.path}, line {line}: {len(row)} values, and line {rows[0][0]} has {len(rows[0][1])}")
            rows.append((line, row))
        if len(rows) <= self.header:
            raise DataError(f"{self.path} holds no rows")
        names = [name.strip() for name in rows.pop(0)[1]] if self.header else [str(i + 1) for i in range(len(rows[0][1]))]
        if twice := [name for i, name in enumerate(names) if name in names[:i]]:
            raise DataError(f"{self.path}: two columns are called '{twice[0]}'")
        if self.header and any(is_number(name) for name in names):
            shown = ", ".join(names[:6])
            logger.warning("%s: columns are called by numbers (%s); if the first line is data, set data.source.header to false", self.path, shown)
        return names, rows

    def lines(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and values of every line that is not blank."""
        path = Path(self.path).expanduser()
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self.separator, strict=True)
                try:
                    yield from ((reader.line_num, row) for row in reader if row)
                except csv.Error as error:
                    raise DataError(f"{self.path}, line {reader.line_num}: {error}") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path} is not UTF-8: byte 0x{error.object[error.start]:02x} cannot be read") from None
        except OSError as error:
            raise DataError(f"data.source.path: {self.path} cannot be read ({error.strerror})") from None

    def numeric(self, names: list[str], rows: list[tuple[int, list[str]]]) -> list[str]:
        """Columns, but the target, most of whose values are numbers: one bad value is then an error, not a column lost in silence."""
        chosen, left = [], []
        for i, name in enumerate(names):
            if name != self.target:
                (chosen if 2 * sum(is_number(row[i]) for _, row in rows) > len(rows) else left).append(name)
        if left:
            logger.warning("%s: columns that hold no numbers are left out: %s", self.path, ", ".join(left))
        return chosen


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def by_size(text: str) -> tuple[bool, float, str]:
    """Numbers first, by size, so that classes 2 and 10 stand in that order; then words."""
    return (False, float(text), text) if is_number(text) else (True, 0.0, text)
