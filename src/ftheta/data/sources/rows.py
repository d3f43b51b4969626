"""Rows of small files of examples: .csv, .tsv (no quoting), .jsonl, and lines that begin with a class."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from typing import Any, Literal, TextIO

from ftheta.core.errors import DataError
from ftheta.data.catalogue import place_of

Format = Literal["csv", "tsv", "jsonl", "label_first"]
Row = tuple[int, dict[str, Any]]
"""The number of its (last) line, and its values by column."""


def rows(path: str, format: Format | None = None, header: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and columns of every row that is not blank. Raises DataError naming file and line."""
    place = place_of(path)
    kind = format or ENDINGS.get(place.suffix)
    if kind is None:
        raise DataError(f"data.source.path: {path} ends in '{place.suffix}', expected .csv, .tsv or .jsonl; or say data.source.format")
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            for line, row in READERS[kind](path, file, header):
                yield f"{path}, line {line}", row
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} cannot be read") from None
    except OSError as error:
        raise DataError(f"data.source.path: {path} cannot be read ({error.strerror})") from None


def objects(path: str, file: TextIO, header: bool) -> Iterator[Row]:
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


def labels_first(path: str, file: TextIO, header: bool) -> Iterator[Row]:
    """Lines of a label, a space and a text."""
    for number, line in enumerate(file, 1):
        label, _, text = line.strip().partition(" ")
        if label:
            yield number, {"label": label, "text": text}


def commas(path: str, file: TextIO, header: bool) -> Iterator[Row]:
    return separated(path, csv.reader(file, strict=True), header)


def tabs(path: str, file: TextIO, header: bool) -> Iterator[Row]:
    return separated(path, csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), header)


def separated(path: str, reader: Any, header: bool) -> Iterator[Row]:
    """Values by the names in the first line, or, without a header, by 1, 2, 3, ..."""
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
            yield reader.line_num, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None


READERS: dict[str, Callable[[str, TextIO, bool], Iterator[Row]]] = {"csv": commas, "tsv": tabs, "jsonl": objects, "label_first": labels_first}
ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Endings of files that say how they are read."""
