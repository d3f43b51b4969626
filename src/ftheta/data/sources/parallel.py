"""Texts in two languages, line by line: two files that go together, or two columns of one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError
from ftheta.data.kept import KeepsApart, Kept
from ftheta.data.parallel import PORTS, Pair, prepare_parallel
from ftheta.data.rows import read_lines, read_rows
from ftheta.data.sources.source_config import Prepared, Sections

PLACE = "{}"
"""What stands in a path for the name of the language."""


class Parallel(KeepsApart):
    """Texts and their translations; one tokenizer is made from both."""

    sections = frozenset({"tokenizer"})
    kind: Literal["parallel"] = "parallel"
    path: str
    """Two files of the same number of lines, `{}` standing for the language (`train.{}.gz`); or a .tsv, .csv or .jsonl file with two columns."""
    languages: tuple[str, str]
    """What is translated and into what: the names that stand for `{}`, or the columns."""
    header: bool = True
    """Whether the first line of a .tsv or .csv file names the columns; if not they are called 1, 2, 3, ..."""
    validation: Kept = 0.05
    """Looked at during training: a share of the pairs, or files of their own."""
    test: Kept = 0.05
    """Kept for the final measurement: a share of the pairs, or files of their own."""
    longest: int = Field(default=128, ge=8)
    """Tokens of a text; longer pairs are left out of training, and others lose their end."""
    reverse: bool = False
    """Whether training sees every pair the other way round as well."""

    @model_validator(mode="after")
    def makes_sense(self) -> Parallel:
        if self.languages[0] == self.languages[1]:
            raise ValueError(f"languages: both are '{self.languages[0]}': say what is translated and into what")
        return self

    def ports(self) -> Ports:
        return Ports(gives=PORTS, sizes={"T": self.longest, "S": self.longest})

    def prepare(self, sections: Sections) -> Prepared:
        return prepare_parallel(self.parts(), self.longest, self.reverse, sections)

    def parts(self) -> dict[str, list[Pair] | float]:
        """The pairs of every file, and the shares that the training pairs give up. Raises DataError naming file and line."""
        given = {"train": self.path, "validation": self.validation, "test": self.test}
        return {name: self.read(value) if isinstance(value, str) else value for name, value in given.items()}

    def read(self, path: str) -> list[Pair]:
        if PLACE in path:
            files = [path.replace(PLACE, language) for language in self.languages]
            first, second = (read_lines(file) for file in files)
            if len(first) != len(second):
                raise DataError(f"{files[0]} has {len(first):,} lines and {files[1]} {len(second):,}: line by line they should be the same text")
            return [Pair(*texts) for texts in zip(first, second, strict=True)]
        first, second = self.languages
        return [Pair(row.text("languages", first), row.text("languages", second)) for row in read_rows(path, header=self.header)]
