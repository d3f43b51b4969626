"""Labelled texts from files: a row is a text, or two, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field

from ftheta.core.errors import DataError
from ftheta.data.kept import Kept, parted
from ftheta.data.labelled import Example, LabelledTextSource
from ftheta.data.rows import Format, read_rows
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

    def parts(self, seed: int) -> dict[str, list[Example]]:
        examples = self.examples(self.path)
        groups = self.classes(examples) if self.predict == "class" else []
        return parted(examples, torch.tensor([groups.index(example.answer) if groups else 0 for example in examples]), self.kept, self.examples, seed)

    def examples(self, path: str) -> list[Example]:
        """Every example of a file, in a fixed order. Raises DataError naming file and line for what cannot be read."""
        found = []
        for row in read_rows(path, self.format, self.header):
            second = None if self.second is None else row.text("second", self.second)
            answer = row.text("label", self.label).strip()
            if self.predict == "number":
                row.number("label", self.label)
            elif not answer:
                raise row.wrong(self.label, "a class")
            found.append(Example(row.text("text", self.text), second, answer))
        if not found:
            raise DataError(f"{path} holds no rows")
        return found

    def classes(self, examples: Sequence[Example]) -> list[str]:
        names = sorted({example.answer for example in examples}, key=by_size)
        if len(names) < 2:
            raise DataError(f"{self.path}: every row has the label '{names[0]}': there is nothing to tell apart")
        return names
