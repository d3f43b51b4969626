"""Labelled texts from files: a row is a text, or two, and what it is, or which things it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator

from ftheta.core.errors import DataError
from ftheta.data.kept import Kept, parted
from ftheta.data.labelled import Example, LabelledTextSource
from ftheta.data.rows import Format, Row, read_rows
from ftheta.data.several import apart
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
    separator: str | None = Field(default=None, min_length=1)
    """What stands between the classes of a text that may have none, one or several (in .jsonl files a list may stand instead); none: every text has one."""
    group: str | None = None
    """The column of the group of each row (a sex, a site), by which metric `gaps` compares; no model sees it."""
    header: bool = True
    """Whether the first line names the columns; if not they are called 1, 2, 3, ..."""
    longest: int = Field(default=128, ge=8)
    """Tokens of a row; what is longer loses its end."""
    validation: Kept = 0.1
    """Looked at during training: a share of the rows, class by class, or another file."""
    test: Kept = 0.1
    """Kept for the final measurement: a share of the rows, class by class, or another file."""

    @model_validator(mode="after")
    def numbers_stand_alone(self) -> TextTable:
        if self.separator is not None and self.predict == "number":
            raise ValueError("separator is for classes, and predict says number: leave one of them out")
        return self

    def parts(self, seed: int) -> dict[str, list[Example]]:
        examples = self.examples(self.path)
        groups = self.classes(examples) if self.answer == "label" else []
        numbers = [groups.index(example.answer) if isinstance(example.answer, str) and groups else 0 for example in examples]
        return parted(examples, torch.tensor(numbers), self.kept, self.examples, seed)

    def examples(self, path: str) -> list[Example]:
        """Every example of a file, in a fixed order. Raises DataError naming file and line for what cannot be read."""
        found = []
        for row in read_rows(path, self.format, self.header):
            second = None if self.second is None else row.text("second", self.second)
            group = None if self.group is None else row.text("group", self.group).strip()
            found.append(Example(row.text("text", self.text), second, self.answer_of(row), row.place, group))
        if not found:
            raise DataError(f"{path} holds no rows")
        return found

    def answer_of(self, row: Row) -> str | tuple[str, ...]:
        """Its class, classes or number, as written. Raises DataError where there is none."""
        if self.separator is not None:
            value = row.value("label", self.label)
            return apart(value if isinstance(value, list) else row.text("label", self.label), self.separator)
        answer = row.text("label", self.label).strip()
        if self.predict == "number":
            row.number("label", self.label)
        elif not answer:
            raise row.wrong(self.label, "a class")
        return answer

    def classes(self, examples: Sequence[Example]) -> list[str]:
        names = sorted({name for e in examples for name in (e.answer if isinstance(e.answer, tuple) else (e.answer,))}, key=by_size)
        if not names:
            raise DataError(f"{self.path}: no row has a class in column '{self.label}'")
        if self.separator is not None:
            return names
        if len(names) < 2:
            raise DataError(f"{self.path}: every row has the label '{names[0]}': there is nothing to tell apart")
        return names
