"""Labelled texts from files: a row is a text, or two, and what it is."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TextIO

import torch
from pydantic import Field, model_validator

from ftheta.core.errors import DataError, suggest
from ftheta.data.catalogue import place_of
from ftheta.data.images import stratified
from ftheta.data.labelled import Example, LabelledTextSource
from ftheta.data.processors.table import number
from ftheta.data.sources.kept import Kept, files, shares
from ftheta.data.sources.tables import by_size


class TextTable(LabelledTextSource):
    """Texts, or pairs of texts, with their classes or numbers, from a .csv file, a .tsv file (no quoting), a .jsonl file, or lines that begin with the class."""

    kind: Literal["text_table"] = "text_table"
    path: str
    """The file, UTF-8; its ending says how it is read. `data:NAME/FILE` is a file of a named data set."""
    format: Literal["csv", "tsv", "jsonl", "label_first"] | None = None
    """How it is read, where its ending does not say so; `label_first`: a line is a class, a space and a text."""
    text: str = "text"
    """The column, or field, that holds the text."""
    second: str | None = None
    """The column of the other text, for pairs."""
    label: str = "label"
    """The column of the class, or of the number."""
    predict: Literal["class", "number"] = "class"
    """What the label is: a class, whatever it looks like, or a number, such as how alike two texts are."""
    header: bool = True
    """Whether the first line names the columns; if not they are called 1, 2, 3, ..."""
    longest: int = Field(default=128, ge=8)
    """Tokens of a row; what is longer loses its end."""
    validation: Kept = 0.1
    """Looked at during training: a share of the rows, class by class, or another file."""
    test: Kept = 0.1
    """Kept for the final measurement: a share of the rows, class by class, or another file."""

    @property
    def kept(self) -> dict[str, float | str]:
        return {"validation": self.validation, "test": self.test}

    @model_validator(mode="after")
    def leaves_rows(self) -> TextTable:
        shares(self.kept)
        return self

    def parts(self, seed: int) -> dict[str, list[Example]]:
        examples = self.examples(self.path)
        groups = self.classes(examples) if self.predict == "class" else []
        label = torch.tensor([groups.index(example.answer) if groups else 0 for example in examples])
        drawn = {name: rows.tolist() for name, rows in stratified(label, shares(self.kept), seed).items()}
        taken = {row for rows in drawn.values() for row in rows}
        train = [example for row, example in enumerate(examples) if row not in taken]
        if not train:
            raise DataError(f"data.source: {len(examples)} texts are too few to split")
        other = {name: self.examples(path) for name, path in files(self.kept).items()}
        found = {name: [examples[row] for row in drawn[name]] if name in drawn else other.get(name, []) for name in self.kept}
        return {"train": train, **{name: part for name, part in found.items() if part}}

    def examples(self, path: str) -> list[Example]:
        """Every example of a file, in a fixed order. Raises DataError naming file and line for what cannot be read."""
        found = []
        for place, row in self.rows(path):
            values = {}
            for field, column in (("text", self.text), ("second", self.second), ("label", self.label)):
                if column is None:
                    continue
                if column not in row:
                    raise DataError(f"{place}: no column '{column}' (data.source.{field}){suggest(column, row, 'columns')}")
                value = row[column]
                if not isinstance(value, str | int | float) or (field == "label" and not str(value).strip()):
                    raise DataError(f"{place}: column '{column}' holds {value!r}, expected {'a class' if field == 'label' else 'text'}")
                values[field] = str(value)
            answer = values["label"].strip()
            if self.predict == "number":
                number(answer, f"{place}, column '{self.label}'")
            found.append(Example(values["text"], values.get("second"), answer))
        if not found:
            raise DataError(f"{path} holds no rows")
        return found

    def classes(self, examples: Sequence[Example]) -> list[str]:
        names = sorted({example.answer for example in examples}, key=by_size)
        if len(names) < 2:
            raise DataError(f"{self.path}: every row has the label '{names[0]}': there is nothing to tell apart")
        return names

    def rows(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Place and columns of every row that is not blank. Raises DataError naming file and line."""
        place = place_of(path)
        read = READERS.get(self.format or ENDINGS.get(place.suffix, ""))
        if read is None:
            raise DataError(f"data.source.path: {path} ends in '{place.suffix}', expected .csv, .tsv or .jsonl; or say data.source.format")
        try:
            with place.open(encoding="utf-8-sig", newline="") as file:
                for line, row in read(self, path, file):
                    yield f"{path}, line {line}", row
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} cannot be read") from None
        except OSError as error:
            raise DataError(f"data.source.path: {path} cannot be read ({error.strerror})") from None

    def objects(self, path: str, file: TextIO) -> Iterator[Row]:
        for place, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {place}: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {place}: expected a JSON object")
            yield place, row

    def labels_first(self, path: str, file: TextIO) -> Iterator[Row]:
        for place, line in enumerate(file, 1):
            label, _, text = line.strip().partition(" ")
            if label:
                yield place, {self.label: label, self.text: text}

    def commas(self, path: str, file: TextIO) -> Iterator[Row]:
        return self.separated(path, csv.reader(file, strict=True))

    def tabs(self, path: str, file: TextIO) -> Iterator[Row]:
        return self.separated(path, csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

    def separated(self, path: str, reader: Any) -> Iterator[Row]:
        names: list[str] | None = None
        try:
            for row in reader:
                if not row:
                    continue
                if names is None:
                    names = [name.strip() for name in row] if self.header else [str(i + 1) for i in range(len(row))]
                    if self.header:
                        continue
                if len(row) != len(names):
                    raise DataError(f"{path}, line {reader.line_num}: {len(row)} values, expected {len(names)} ({', '.join(names)})")
                yield reader.line_num, dict(zip(names, row, strict=True))
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from None


Row = tuple[int, dict[str, Any]]
READERS: dict[str, Callable[[TextTable, str, TextIO], Iterator[Row]]] = {
    "csv": TextTable.commas, "tsv": TextTable.tabs, "jsonl": TextTable.objects, "label_first": TextTable.labels_first,
}
ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Endings of files that say how they are read."""
