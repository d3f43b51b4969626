"""Rows of files of examples: .csv, .tsv (no quoting), .jsonl, and lines that begin with a class; plain or packed as .gz."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal, TextIO

from ftheta.core.errors import DataError, suggest
from ftheta.data.catalogue import place_of
from ftheta.data.read.bad import BadRow
from ftheta.data.read.row import columns, named

Format = Literal["csv", "tsv", "jsonl", "label_first"]


@dataclass(frozen=True)
class Row:
    """One row's columns and its place in the file."""

    place: str
    columns: Mapping[str, Any]

    def value(self, field: str, column: str) -> Any:
        """What stands in the column that a field of `data.source` names, or one with its whole path. Raises DataError when it is missing."""
        if column not in self.columns:
            where = field if field.startswith("data.") else f"data.source.{field}"
            raise DataError(f"{self.place}: no column '{column}' ({where}){suggest(column, self.columns, 'columns')}")
        return self.columns[column]

    def text(self, field: str, column: str) -> str:
        """The text in that column. Raises DataError when it is missing or no text."""
        if not isinstance(value := self.value(field, column), str | int | float):
            raise self.wrong(column, "text")
        return str(value)

    def number(self, field: str, column: str) -> float:
        """The finite number in that column. Raises DataError."""
        try:
            value = float(self.text(field, column))
        except ValueError:
            raise self.wrong(column, "a number") from None
        if not math.isfinite(value):
            raise self.wrong(column, "a finite number")
        return value

    def wrong(self, column: str, expected: str) -> DataError:
        return DataError(f"{self.place}: column '{column}' holds {self.columns[column]!r:.60}, expected {expected}")


@contextlib.contextmanager
def readable(path: str | Path) -> Iterator[TextIO]:
    """A file of UTF-8 text, unpacked if it is called .gz, line ends as they are. Raises DataError naming the file."""
    place = place_of(path) if isinstance(path, str) else path
    try:
        with gzip.open(place, "rt", encoding="utf-8-sig", newline="") if place.suffix == ".gz" else place.open(encoding="utf-8-sig", newline="") as file:
            assert isinstance(file, TextIO | TextIOWrapper)
            yield file
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} cannot be read") from None
    except (OSError, EOFError) as error:
        raise DataError(f"data.source.path: {path} cannot be read ({getattr(error, 'strerror', None) or error})") from None


def read_lines(path: str | Path) -> list[str]:
    """Every line of a text file, without its end. Raises DataError naming the file."""
    with readable(path) as file:
        return [line.rstrip("\r\n") for line in file]


def read_rows(path: str | Path, format: Format | None = None, header: bool = True) -> Iterator[Row]:
    """Every row that is not blank; without a header columns are called 1, 2, 3, ... Raises DataError naming file and line.

    `format` is for files whose ending does not say how they are read.
    """
    plain = Path(str(path).removesuffix(".gz"))
    kind = format or ENDINGS.get(plain.suffix)
    if kind is None:
        raise DataError(f"data.source.path: {path} ends in '{plain.suffix}', expected .csv, .tsv or .jsonl; or say data.source.format")
    with readable(path) as file:
        for line, columns in READERS[kind](str(path), file, header):
            yield Row(f"{path}, line {line}", columns)


Numbered = Iterator[tuple[int, dict[str, Any]]]


def objects(path: str, file: TextIO, header: bool) -> Numbered:
    """Lines that are JSON objects."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object")
        yield number, row


def labels_first(path: str, file: TextIO, header: bool) -> Numbered:
    """Lines of a label, a space and a text."""
    for number, line in enumerate(file, 1):
        label, _, text = line.strip().partition(" ")
        if label:
            yield number, {"label": label, "text": text}


def commas(path: str, file: TextIO, header: bool) -> Numbered:
    return separated(path, csv.reader(file, strict=True), header)


def tabs(path: str, file: TextIO, header: bool) -> Numbered:
    return separated(path, csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), header)


def separated(path: str, reader: Any, header: bool) -> Numbered:
    """Values by the names in the first line, or, without a header, by 1, 2, 3, ..."""
    names: list[str] = []
    try:
        for row in reader:
            if header and not names:
                names = columns(row)
            elif row:
                yield reader.line_num, named(row, names)
    except BadRow as error:
        raise DataError(f"{path}, line {reader.line_num}: {error} ({', '.join(names)})") from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None


READERS: dict[str, Callable[[str, TextIO, bool], Numbered]] = {"csv": commas, "tsv": tabs, "jsonl": objects, "label_first": labels_first}
ENDINGS: dict[str, str] = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Endings of files that say how they are read."""
