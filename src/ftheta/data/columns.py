"""Rows of a file with named columns: .csv, .tsv (no quoting) or .jsonl, plain or packed as .gz."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from ftheta.core.errors import DataError


@contextlib.contextmanager
def readable(path: Path) -> Iterator[TextIO]:
    """A file of UTF-8 text, unpacked if it is called .gz; line ends as they are. Raises DataError naming the file."""
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") if path.suffix == ".gz" else path.open(encoding="utf-8-sig", newline="") as file:
            assert isinstance(file, TextIO | TextIOWrapper)
            yield file
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} cannot be read") from None
    except (OSError, EOFError) as error:
        raise DataError(f"data.source.path: {path} cannot be read ({getattr(error, 'strerror', None) or error})") from None


def ending(path: Path) -> str:
    """What says how a file is read: `.tsv` of `pairs.tsv` and of `pairs.tsv.gz`."""
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def rows(path: Path, header: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and columns of every row that is not blank; without a header columns are called 1, 2, 3, ... Raises DataError naming file and line."""
    with readable(path) as file:
        yield from objects(file, path) if ending(path) in (".jsonl", ".ndjson") else separated(file, path, header)


def lines(path: Path) -> list[str]:
    """Every line of a text file, without its end. Raises DataError naming the file."""
    with readable(path) as file:
        return [line.rstrip("\r\n") for line in file]


def objects(file: TextIO, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object")
        yield f"{path}, line {number}", row


def separated(file: TextIO, path: Path, header: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    if ending(path) not in (".csv", ".tsv"):
        raise DataError(f"data.source.path: {path} ends in '{ending(path)}', expected .csv, .tsv or .jsonl")
    tabs = ending(path) == ".tsv"
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
            yield f"{path}, line {reader.line_num}", dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
