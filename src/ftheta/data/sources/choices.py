"""Questions with some answers to choose among, from a file: a row is a question, the answers and which of them is right."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError
from ftheta.data.choices import CHOICES, Choice, prepare_choices
from ftheta.data.kept import KeepsApart, parted
from ftheta.data.rows import Row, read_rows
from ftheta.data.sources.source_config import Prepared, Sections


class Choices(KeepsApart):
    """Questions with two or more answers each, one of them right; not all questions need to have as many."""

    sections = frozenset({"tokenizer"})
    kind: Literal["choices"] = "choices"
    path: str
    """The file, .csv, .tsv or .jsonl, UTF-8. `data:NAME/FILE` is a file of a named data set."""
    question: str = "question"
    """The column, or field, of the question."""
    context: str | None = None
    """The column of a text to be read first; none: there is only the question."""
    offered: tuple[str, ...] = Field(default=("choices",), min_length=1)
    """The columns of the answers, one each, empty ones left out; or the one field that holds a list of them."""
    label: str = "answer"
    """The column that says which answer is right."""
    written: Literal["number", "letter", "text"] = "number"
    """How it says so: a number from 0, a letter from A, or the answer itself."""
    longest: int = Field(default=128, ge=8)
    """Tokens of a question with one answer; what is longer loses its end."""

    def ports(self) -> Ports:
        return Ports(gives=CHOICES, sizes={"T": self.longest})

    def prepare(self, sections: Sections) -> Prepared:
        return prepare_choices(self.parts(sections.seed), self.longest, sections)

    def parts(self, seed: int) -> dict[str, list[Choice]]:
        """The questions of every part. Raises DataError naming file and line."""
        items = self.items(self.path)
        return parted(items, torch.zeros(len(items)), self.kept, self.items, seed)

    def items(self, path: str) -> list[Choice]:
        found = [self.item(row) for row in read_rows(path)]
        if not found:
            raise DataError(f"{path} holds no rows")
        return found

    def item(self, row: Row) -> Choice:
        question, context = row.text("question", self.question), None if self.context is None else row.text("context", self.context)
        values = [row.value("offered", column) for column in self.offered]
        values = values[0] if len(values) == 1 and isinstance(values[0], list) else [value for value in values if value not in (None, "")]
        if wrong := [value for value in values if not isinstance(value, str | int | float)]:
            raise DataError(f"{row.place}: {wrong[0]!r:.60} where text is expected (data.source.offered)")
        if len(values) < 2:
            raise DataError(f"{row.place}: {len(values)} answer{'' if len(values) == 1 else 's'} to choose among, expected two or more (data.source.offered)")
        offered = tuple(str(value) for value in values)
        return Choice(question, context, offered, self.right(row.place, row.value("label", self.label), offered))

    def right(self, place: str, said: Any, offered: tuple[str, ...]) -> int:
        """The number of the right answer."""
        numbers, text = range(len(offered)), str(said).strip()
        names = {"number": [str(i) for i in numbers], "letter": [chr(ord("A") + i) for i in numbers], "text": [answer.strip() for answer in offered]}[self.written]
        text = text.upper() if self.written == "letter" else text
        if text not in names:
            raise DataError(f"{place}: column '{self.label}' holds {said!r:.60}, expected one of {', '.join(names):.120} (see data.source.written)")
        return names.index(text)
