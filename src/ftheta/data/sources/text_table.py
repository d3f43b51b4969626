"""Labelled texts from files: a row is a text, or two, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator

from ftheta.core.errors import DataError, suggest
from ftheta.data.images import stratified
from ftheta.data.labelled import Example, LabelledTextSource
from ftheta.data.processors.table import number
from ftheta.data.sources.kept import Kept, files, shares
from ftheta.data.sources.rows import Format, rows
from ftheta.data.sources.tables import by_size


class TextTable(LabelledTextSource):
    """Texts, or pairs of texts, with their classes or numbers, from .csv, .tsv (no quoting) or .jsonl files, or lines that begin with the class."""

    kind: Literal["text_table"] = "text_table"
    path: str
    """The file, UTF-8; its ending says how it is read. `data:NAME/FILE` is a file of a named data set."""
    format: Format | None = None
    """How it is read, where its ending does not say so; `label_first`: a line is a `label`, a space and a `text`."""
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
        drawn = {name: part.tolist() for name, part in stratified(label, shares(self.kept), seed).items()}
        taken = {row for part in drawn.values() for row in part}
        train = [example for row, example in enumerate(examples) if row not in taken]
        if not train:
            raise DataError(f"data.source: {len(examples)} texts are too few to split")
        other = {name: self.examples(path) for name, path in files(self.kept).items()}
        found = {name: [examples[row] for row in drawn[name]] if name in drawn else other.get(name, []) for name in self.kept}
        return {"train": train, **{name: part for name, part in found.items() if part}}

    def examples(self, path: str) -> list[Example]:
        """Every example of a file, in a fixed order. Raises DataError naming file and line for what cannot be read."""
        found = []
        for place, row in rows(path, self.format, self.header):
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
