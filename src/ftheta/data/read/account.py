"""The account of reading: every row that came in is good, blank, passed over or bad, and every bad one is named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ftheta.core.errors import DataError
from ftheta.data.stages import intact

ENOUGH = 100_000
"""Rows after which too large a share of bad ones stops the reading at once, not only at the end."""
START = 60
"""Bytes of a bad row that are kept to recognise it by."""

COUNTERS = ("passed", "bad", "noticed")

Policy = Literal["error", "skip", "quarantine"]


@dataclass(frozen=True)
class Bad:
    """A row that cannot be used: the file (or member of an archive), where in it, why, and how it begins."""

    file: str
    row: int | None
    """From 1; None: the whole file, or a part of it that was not read from its beginning."""
    offset: int
    """Bytes before it in the unpacked file, where rows are lines; else 0."""
    bytes: int
    reason: str
    start: str = ""

    def __str__(self) -> str:
        where = f", line {self.row:,} (byte {self.offset:,})" if self.row else f" (byte {self.offset:,})" if self.offset else ""
        return f"{self.file}{where}: {self.reason}"


@dataclass
class Account:
    """What was read: good + blank + passed + bad = the rows that came in. A file whose text is one document is one row."""

    good: int = 0
    blank: int = 0
    """Empty files and lines."""
    passed: Counter[str] = field(default_factory=Counter)
    """What is no text and does not claim to be: reason → how many."""
    bad: Counter[str] = field(default_factory=Counter)
    """Reason → how many."""
    noticed: Counter[str] = field(default_factory=Counter)
    """What was read in another way than its name says: what → how many files."""
    first: str = ""
    """The first bad row."""
    records: list[Bad] = field(default_factory=list)
    """Bad rows, if the policy is to list them."""
    files: list[Path] = field(default_factory=list)
    """Files of more of them, which come first, a line of JSON each: of much that was read they are not held in memory."""

    @property
    def rows(self) -> int:
        return self.good + self.blank + self.passed.total() + self.bad.total()

    @property
    def share_bad(self) -> float:
        return self.bad.total() / max(1, self.good + self.bad.total())

    def refuse(self, bad: Bad, policy: Policy) -> None:
        """Count a bad row. Raises DataError when the policy says so."""
        self.bad[bad.reason] += 1
        self.first = self.first or str(bad)
        if policy == "error":
            raise DataError(f"{bad}; set data.source.on_bad: skip or quarantine to leave such rows out")
        if policy == "quarantine":
            self.records.append(bad)

    def check(self, most_bad: float) -> None:
        """Raise DataError when a larger share of the rows is bad than allowed."""
        if self.share_bad > most_bad:
            raise DataError(
                f"{self.summary()}: more than data.source.most_bad allows ({most_bad:.3%}). The first: {self.first}. "
                "Look at the files, or raise most_bad if losing these rows is right"
            )

    def summary(self) -> str:
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in self.bad.most_common(5))
        return f"{self.bad.total():,} of {self.good + self.bad.total():,} rows are bad ({reasons})"

    def add(self, other: Account) -> None:
        """Count what another account counted, after what this one has."""
        self.good, self.blank = self.good + other.good, self.blank + other.blank
        for name in COUNTERS:
            getattr(self, name).update(getattr(other, name))
        self.first = self.first or other.first
        self.records += other.records
        self.files += other.files

    def lines(self) -> Iterator[bytes]:
        """Every listed bad row as a line of JSON."""
        for file in self.files:
            with intact(file.parent, file.name).open("rb") as lines:
                yield from lines
        yield from (json.dumps(asdict(bad), ensure_ascii=False).encode() + b"\n" for bad in self.records)

    def dump(self) -> dict[str, Any]:
        """The counts as plain JSON."""
        return {"good": self.good, "blank": self.blank, **{name: dict(getattr(self, name)) for name in COUNTERS}, "first": self.first}

    @classmethod
    def load(cls, data: Mapping[str, Any], bad: Path) -> Account:
        """From what `dump` gave and the file of `lines`."""
        passed, found, noticed = (Counter(data[name]) for name in COUNTERS)
        return cls(data["good"], data["blank"], passed, found, noticed, data["first"], files=[bad])
