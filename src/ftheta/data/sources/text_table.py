"""Labelled texts from a file: a row is a text, or two, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError, suggest
from ftheta.data.columns import rows
from ftheta.data.labelled import Example, LabelledTextSource
from ftheta.data.sources.tables import by_size


class TextTable(LabelledTextSource):
    """A .csv file, a .tsv file (no quoting) or a .jsonl file, plain or .gz, of texts, or pairs of texts, with their classes."""

    kind: Literal["text_table"] = "text_table"
    path: str
    """The file, UTF-8; its ending says how it is read."""
    text: str = "text"
    """The column, or field, that holds the text."""
    second: str | None = None
    """The column of the other text, for pairs."""
    label: str = "label"
    """The column of the class."""
    header: bool = True
    """Whether the first line names the columns; if not they are called 1, 2, 3, ..."""
    longest: int = Field(default=128, ge=8)
    """Tokens of a row; what is longer loses its end."""
    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of the rows, class by class, looked at during training."""
    test: float = Field(default=0.1, ge=0, lt=1)
    """Share of the rows, class by class, kept for the final measurement."""

    @model_validator(mode="after")
    def leaves_rows(self) -> TextTable:
        if self.test + self.validation >= 1:
            raise ValueError(f"test and validation take {self.test + self.validation:.0%} of the rows, which leaves none to train on")
        return self

    def ports(self) -> Ports:
        gives = {"tokens": "ids B T", "documents": "ids B T", "segments": "ids B T", "label": "label B"}
        return Ports(gives=gives, sizes={"T": self.longest})

    def examples(self) -> list[Example]:
        found = []
        for place, row in rows(Path(self.path).expanduser(), self.header):
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
            found.append(Example(values["text"], values.get("second"), values["label"].strip()))
        if not found:
            raise DataError(f"{self.path} holds no rows")
        return found

    def classes(self, examples: Sequence[Example]) -> list[str]:
        names = sorted({example.label for example in examples}, key=by_size)
        if len(names) < 2:
            raise DataError(f"{self.path}: every row has the label '{names[0]}': there is nothing to tell apart")
        return names
