"""Rows of a benchmark's files: JSON lines, CSV, TSV or lines that begin with a label, also gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ftheta.core.errors import DataError

Format = Literal["jsonl", "csv", "tsv", "lines"]


def read_rows(path: Path, form: Format) -> Iterator[dict[str, Any]]:
    """Every row by field name; rows of `lines` are `label`, a space and `text`. Raises DataError naming file and line."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if form in ("csv", "tsv"):
        tabs, lines = form == "tsv", io.StringIO(text, newline="")
        reader = csv.DictReader(lines, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL)
        for row in reader:
            if None in row or None in row.values():
                raise DataError(f"{path}, line {reader.line_num}: expected the columns {', '.join(reader.fieldnames or ())}")
            yield dict(row)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if form == "lines":
            label, _, rest = line.partition(" ")
            yield {"label": label, "text": rest}
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object")
        yield row
