"""The hardened reader: JSON lines and plain lines one by one, so that a bad line costs that line and nothing else.

A row is bad when its line is longer than 16 MB, is not UTF-8 or is not strict JSON (cut off, NaN, a name given twice), when it is nested
deeper than 200 or takes more than 64 MB in memory, or when the text wanted of it is missing or cannot be stored. Good rows come out
exactly as they went in, in order; every bad one is counted and, if wished, listed in a quarantine file with its place and the reason.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from ftheta.core.errors import DataError
from ftheta.core.log import logger

JSON_LINES = (".jsonl", ".ndjson")
MARK = b"\xef\xbb\xbf"
"""The byte order mark some editors put before UTF-8 text."""
SKIP = 1 << 20
STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""A string, also one that is never closed: so that every byte is looked at once."""
BRACKETS = re.compile(rb"[\[\]{}]")
PER_VALUE = 56
"""Bytes that an empty container or a number takes in memory, at least."""
ENOUGH = 100_000
"""Rows after which too large a share of bad ones stops the reading at once, not only at the end."""

Policy = Literal["error", "skip", "quarantine"]


@dataclass(frozen=True)
class Caps:
    """What a row may cost."""

    line: int = 16 << 20
    """Bytes of a line, its end not counted."""
    row: int = 64 << 20
    """Bytes in memory, estimated before it is read."""
    nesting: int = 200
    """Containers within containers."""


class Line(NamedTuple):
    """One line of a file: its number from 1, where it starts, how long it is, and its bytes without the end; None when too long to hold."""

    number: int
    offset: int
    size: int
    data: bytes | None


class Row(NamedTuple):
    """One good row: the text, and where it stands."""

    file: Path
    number: int
    text: str


@dataclass
class Account:
    """What was read."""

    good: int = 0
    blank: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    """Reason → how many."""

    @property
    def share_bad(self) -> float:
        return self.bad.total() / max(1, self.good + self.bad.total())


class BadRow(ValueError):
    """Why a row cannot be used."""


def lines(path: Path, longest: int) -> Iterator[Line]:
    """Every line of a file, never more than `longest` bytes in memory. Raises DataError naming the file when it cannot be read."""
    offset = number = 0
    try:
        with path.open("rb") as file:
            while data := file.readline(longest + 1):
                number, size = number + 1, len(data)
                whole = size <= longest or data.endswith(b"\n")
                while not whole and (piece := file.readline(SKIP)):
                    size += len(piece)
                    if piece.endswith(b"\n"):
                        break
                yield Line(number, offset, size, data.removesuffix(b"\n").removesuffix(b"\r") if whole else None)
                offset += size
    except OSError as error:
        raise DataError(f"{path} cannot be read at byte {offset:,}: {error.strerror}") from None


class Lines:
    """The text of every good row of some files; `account` says afterwards what was read."""

    def __init__(
        self, files: Sequence[Path], name: str, policy: Policy, quarantine: Path | None = None, most_bad: float = 0.001, caps: Caps | None = None,
    ):
        self.files = files
        self.name = name
        """The field of a JSON object that holds the text."""
        self.policy: Policy = policy
        self.quarantine = quarantine
        self.most_bad = most_bad
        self.caps = caps or Caps()
        self.account = Account()
        self.first = ""

    def __iter__(self) -> Iterator[Row]:
        """Raises DataError for the first bad row (policy `error`) or for too many of them."""
        account = self.account = Account()
        with self.listing() as listing:
            for file in self.files:
                for line in lines(file, self.caps.line):
                    try:
                        text = self.text_of(file, line)
                    except BadRow as reason:
                        self.refuse(file, line, str(reason), listing)
                        continue
                    if text is None:
                        account.blank += 1
                        continue
                    account.good += 1
                    yield Row(file, line.number, text)
        if account.bad:
            self.complain()
            logger.warning("left out: %s", self.summary())

    def text_of(self, file: Path, line: Line) -> str | None:
        """The row's text, None for a blank line. Raises BadRow."""
        if line.data is None:
            raise BadRow(f"longer than {self.caps.line:,} bytes")
        data = line.data.removeprefix(MARK) if line.number == 1 else line.data
        if not data.strip():
            return None
        if file.suffix not in JSON_LINES:
            return decoded(data)
        value = parsed(data, self.caps)
        if not isinstance(value, dict):
            raise BadRow("not a JSON object")
        if self.name not in value:
            raise BadRow(f"no field '{self.name}'")
        text = value[self.name]
        if not isinstance(text, str):
            raise BadRow(f"field '{self.name}' is not text")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadRow(f"field '{self.name}' holds half a character (a lone surrogate)") from None
        return text

    @contextlib.contextmanager
    def listing(self) -> Iterator[IO[str] | None]:
        """The quarantine file, in place only once it is whole, also when the reading fails."""
        if self.policy != "quarantine" or self.quarantine is None:
            yield None
            return
        self.quarantine.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.quarantine.with_name(f".tmp-{self.quarantine.name}-{os.getpid()}")
        try:
            with unfinished.open("w", encoding="utf-8") as file:
                yield file
        finally:
            os.replace(unfinished, self.quarantine)

    def refuse(self, file: Path, line: Line, reason: str, listing: IO[str] | None) -> None:
        """Count a bad row and list it. Raises DataError when the policy says so or when there are too many."""
        self.account.bad[reason] += 1
        place = f"{file}, line {line.number:,} (byte {line.offset:,}): {reason}"
        self.first = self.first or place
        if self.policy == "error":
            raise DataError(f"{place}; set data.source.on_bad to skip or quarantine to leave such rows out")
        if listing is not None:
            start = (line.data or b"")[:60].decode("utf-8", "backslashreplace")
            facts = {"file": str(file), "line": line.number, "offset": line.offset, "bytes": line.size, "reason": reason, "start": start}
            listing.write(json.dumps(facts, ensure_ascii=False) + "\n")
        if self.account.good + self.account.bad.total() >= ENOUGH:
            self.complain()

    def complain(self) -> None:
        """Raise DataError when more rows are bad than allowed."""
        if self.account.share_bad > self.most_bad:
            raise DataError(
                f"{self.summary()}: more than data.source.most_bad allows ({self.most_bad:.3%}). The first: {self.first}. "
                "Look at the files, or raise most_bad if losing these rows is right"
            )

    def summary(self) -> str:
        account = self.account
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in account.bad.most_common(5))
        where = f", listed in {self.quarantine}" if self.policy == "quarantine" and self.quarantine else ""
        return f"{account.bad.total():,} of {account.good + account.bad.total():,} rows are bad ({reasons}){where}"


def decoded(data: bytes) -> str:
    """UTF-8 as text. Raises BadRow naming the byte."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadRow(f"not UTF-8 (byte 0x{data[error.start]:02x})") from None


def parsed(data: bytes, caps: Caps) -> Any:
    """Strict JSON. Raises BadRow; what would take too much memory or stack is refused before it is read."""
    text = decoded(data)
    if data.count(b"[") + data.count(b"{") > caps.nesting and nesting(data) > caps.nesting:
        raise BadRow(f"nested deeper than {caps.nesting}")
    if size_of(data) > caps.row and size_of(STRINGS.sub(b'""', data)) + len(data) > caps.row:
        raise BadRow(f"larger than {caps.row:,} bytes in memory")
    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refused, parse_float=finite)
    except BadRow:
        raise
    except (ValueError, RecursionError) as error:
        raise BadRow(f"not JSON ({getattr(error, 'msg', None) or 'a number too long'})") from None


def size_of(data: bytes) -> int:
    """At most what a JSON text takes in memory."""
    return len(data) + PER_VALUE * (data.count(b",") + data.count(b"[") + data.count(b"{"))


def nesting(data: bytes) -> int:
    """How deep the brackets outside strings go."""
    depth = deepest = 0
    for bracket in BRACKETS.finditer(STRINGS.sub(b"", data)):
        depth += 1 if bracket[0] in (b"[", b"{") else -1
        deepest = max(deepest, depth)
    return deepest


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadRow("a name is given twice")
    return value


def refused(name: str) -> Any:
    raise BadRow(f"{name} is not JSON")


def finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise BadRow("a number too large")
    return value
