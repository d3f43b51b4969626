"""What of a file is wanted, and what a reader gives for each row of it: a text with facts, nothing, or why it cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ftheta.data.documents import Fact
from ftheta.data.read.bad import BadFile, BadRow
from ftheta.data.read.lines import Caps
from ftheta.data.read.streams import MOST, PIECE, Stream


@dataclass(frozen=True)
class Wanted:
    """What of a file is wanted."""

    text: tuple[str, ...] = ("text",)
    """Columns, or fields of a JSON object, that hold the text, joined by line ends."""
    facts: tuple[str, ...] = ()
    """Columns or fields that are facts about it."""
    inside: tuple[str, ...] = ()
    """Of a JSON file, the fields in which its rows lie, outermost first."""
    header: bool = True
    """Whether the first line of a table names its columns; else they are called 1, 2, 3, ..."""
    encoding: str = "utf-8"
    """What text is written in, `detect` to find out."""
    caps: Caps = field(default_factory=Caps)
    start: int = 0
    """Of a file of lines, those that begin here or later ..."""
    end: int | None = None
    """... and before here."""


class Row(NamedTuple):
    """What stands in one place of a file."""

    place: str
    """Where in the file, for its name; empty: it is the whole file."""
    text: str | None
    """None: there is nothing, or something that cannot be used, or is passed over."""
    facts: Mapping[str, Fact] = {}
    number: int | None = None
    offset: int = 0
    size: int = 0
    reason: str = ""
    """Why it cannot be used."""
    start: bytes = b""
    """How a bad row begins."""
    passed: str = ""
    """What it is instead of a text."""


Reader = Callable[[Stream, Wanted], Iterator[Row]]


def fields(value: Any, wanted: Wanted) -> tuple[str, dict[str, Fact]]:
    """The text and the facts of a row with named values. Raises BadRow."""
    if not isinstance(value, dict):
        raise BadRow("not a JSON object")
    texts = []
    for name in wanted.text:
        if name not in value:
            raise BadRow(f"no field '{name}'")
        if not isinstance(value[name], str):
            raise BadRow(f"field '{name}' is not text")
        texts.append(storable(name, value[name]))
    return "\n".join(texts), {name: fact(name, value[name]) for name in wanted.facts if value.get(name) is not None}


def columns(values: list[str]) -> list[str]:
    """The names that the first row of a table gives its columns."""
    return [name.strip() for name in values]


def named(values: list[str], names: list[str]) -> dict[str, str]:
    """Values by their columns' names; without names the first row says how many there are. Raises BadRow."""
    if not names:
        names += [str(i + 1) for i in range(len(values))]
    if len(values) != len(names):
        raise BadRow(f"{len(values)} values, expected {len(names)}")
    return dict(zip(names, values, strict=True))


def storable(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow(f"field '{name}' holds half a character (a lone surrogate)") from None
    return value


def writable(text: str) -> str:
    """Halves of characters as question marks: markup can spell what no file can hold."""
    return text.encode("utf-8", "replace").decode()


def fact(name: str, value: Any) -> Fact:
    """Text and numbers as they are, anything else as JSON."""
    if isinstance(value, str):
        return storable(name, value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else json.dumps(value, default=str)


def whole(stream: Stream, wanted: Wanted) -> bytes:
    """The bytes of a file that has to be in memory whole. Raises BadRow."""
    data = bytearray(stream.read(PIECE))
    while len(data) <= wanted.caps.file and (piece := stream.read(MOST)):
        data += piece
    if len(data) > wanted.caps.file:
        raise BadFile(f"more than data.source.largest ({wanted.caps.file:,} bytes)")
    return bytes(data)
