"""Rows of a .csv, a .tsv (no quoting) or a .jsonl file of texts: named columns, and where in the file they stand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftheta.core.errors import DataError, suggest


@dataclass(frozen=True)
class Row:
    """One row's columns and its place in the file."""

    place: str
    columns: Mapping[str, Any]

    def text(self, field: str, column: str) -> str:
        """The text in the column that `data.source.<field>` names. Raises DataError when it is missing or no text."""
        if column not in self.columns:
            raise DataError(f"{self.place}: no column '{column}' (data.source.{field}){suggest(column, self.columns, 'columns')}")
        if not isinstance(self.columns[column], str | int | float):
            raise self.wrong(column, "text")
        return str(self.columns[column])

    def number(self, field: str, column: str) -> float:
        """The finite number in that column. Raises DataError."""
        try:
            value = float(self.text(field, column))
        except ValueError:
            raise self.wrong(column, "a number") from None
        if not -float("inf") < value < float("inf"):
            raise self.wrong(column, "a finite number")
        return value

    def wrong(self, column: str, expected: str) -> DataError:
        return DataError(f"{self.place}: column '{column}' holds {self.columns[column]!r}, expected {expected}")


def read_rows(path: str, header: bool = True) -> Iterator[Row]:
    """Every row that is not blank; without a header the columns are called 1, 2, 3, ... Raises DataError naming file and line."""
    place = Path(path).expanduser()
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            yield from objects(file, path) if place.suffix in (".jsonl", ".ndjson") else separated(file, path, header)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} cannot be read") from None
    except OSError as error:
        raise DataError(f"data.source.path: {path} cannot be read ({error.strerror})") from None


def objects(file: Any, path: str) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object")
        yield Row(f"{path}, line {number}", row)


def separated(file: Any, path: str, header: bool) -> Iterator[Row]:
    suffix = Path(path).suffix
    if suffix not in (".csv", ".tsv"):
        raise DataError(f"data.source.path: {path} ends in '{suffix}', expected .csv, .tsv or .jsonl")
    tabs = suffix == ".tsv"
    reader = csv.reader(file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL, strict=not tabs)
    names: list[str] | None = None
    try:
        for row in reader:
            if not row:
                continue
            if names is None:
                names = [name.strip() for name in row] if header else [str(i + 1) for i in range(len(row))]
                if header:
                    continue
            if len(row) != len(names):
                raise DataError(f"{path}, line {reader.line_num}: {len(row)} values, expected {len(names)} ({', '.join(names)})")
            yield Row(f"{path}, line {reader.line_num}", dict(zip(names, row, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
