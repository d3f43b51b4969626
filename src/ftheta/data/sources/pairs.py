"""Pairs of texts from a file, or the pairs that people scored for SemEval's tasks on semantic textual similarity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError
from ftheta.data.catalogue import locate
from ftheta.data.kept import shares
from ftheta.data.pairs import Pair, pair_ports, prepare_pairs
from ftheta.data.rows import read_rows
from ftheta.data.sources.source_config import Prepared, Sections, SourceConfig

SEMEVAL, HIGHEST, TEST_YEAR = "sts", 5.0, "2016"
"""What the named set is called, its highest score, and which of its years is for testing."""


class PairsSource(SourceConfig):
    """Two texts a row that belong together, or a score that says how well; perhaps a third that does not belong to the first.

    `path: sts` is the set of the SemEval tasks of 2012 to 2016 (0 to 5, here divided by 5), of which 2016 is the test split.
    """

    sections = frozenset({"tokenizer"})
    kind: Literal["pairs"] = "pairs"
    path: str
    """A .csv, .tsv (no quoting) or .jsonl file, UTF-8, whose ending says how it is read; or `sts`."""
    first: str = "first"
    """The column, or field, of the one text."""
    second: str = "second"
    """The column of the other."""
    score: str | None = None
    """The column of a number that says how alike they are; none: all pairs belong together."""
    negative: str | None = None
    """The column of a text that does not belong to the first, though it may seem so."""
    highest: float = Field(default=1.0, gt=0)
    """What scores are divided by: the highest, if they are to be cosines."""
    header: bool = True
    """Whether the first line names the columns; if not they are called 1, 2, 3, ..."""
    longest: int = Field(default=128, ge=8)
    """Tokens of a text; what is longer loses its end."""
    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of the rows looked at during training."""
    test: float = Field(default=0.1, ge=0, lt=1)
    """Share of the rows kept for the final measurement; `sts` has its own."""

    @model_validator(mode="after")
    def leaves_rows(self) -> PairsSource:
        shares({"validation": self.validation, "test": self.test})
        return self

    def ports(self) -> Ports:
        named = self.path == SEMEVAL
        return pair_ports(named or self.score is not None, not named and self.negative is not None, {"T": self.longest})

    def prepare(self, sections: Sections) -> Prepared:
        if self.path == SEMEVAL:
            train, test = semeval()
            return prepare_pairs(train, test, self.longest, self.validation, 0.0, sections)
        return prepare_pairs(self.pairs(), [], self.longest, self.validation, self.test, sections)

    def pairs(self) -> list[Pair]:
        """Every row of the file, in order. Raises DataError naming file and line for what cannot be read."""
        found = [
            Pair(
                row.text("first", self.first), row.text("second", self.second),
                None if self.score is None else row.number("score", self.score) / self.highest,
                None if self.negative is None else row.text("negative", self.negative),
            )
            for row in read_rows(self.path, header=self.header)
        ]
        if not found:
            raise DataError(f"{self.path} holds no rows")
        return found


def semeval() -> tuple[list[Pair], list[Pair]]:
    """The scored pairs of the tasks before the test year, but for the few that are of both, and of that year. Lines without a score nobody scored."""
    folder = locate("sts_2012_2016")
    years: dict[bool, list[Pair]] = {True: [], False: []}
    for file in sorted(folder.glob("20*/*.tsv")):
        for row in read_rows(file, header=False):
            if str(row.columns["1"]).strip():
                pair = Pair(row.text("first", "2"), row.text("second", "3"), row.number("score", "1") / HIGHEST)
                years[file.parent.name == TEST_YEAR].append(pair)
    known = {frozenset((pair.first, pair.second)) for pair in years[True]}
    return [pair for pair in years[False] if frozenset((pair.first, pair.second)) not in known], years[True]
