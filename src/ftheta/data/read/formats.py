"""Formats: how the bytes of a file become rows of text, chosen by the file's ending and its first bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from ftheta.data.documents import Fact
from ftheta.data.read.account import START, BadRow
from ftheta.data.read.lines import MARK, Caps, Line, decoded, lines, parsed
from ftheta.data.read.streams import Stream

Format = Literal["text", "lines", "jsonl", "json", "csv", "tsv"]


@dataclass(frozen=True)
class Wanted:
    """What of a file is wanted."""

    text: tuple[str, ...] = ("text",)
    """Columns, or fields of a JSON object, that hold the text, joined by line ends."""
    facts: tuple[str, ...] = ()
    """Columns or fields that are facts about it."""
    header: bool = True
    """Whether the first line of a table names its columns; else they are called 1, 2, 3, ..."""
    caps: Caps = field(default_factory=Caps)
    start: int = 0
    """Of a file of lines, those that begin here or later ..."""
    end: int | None = None
    """... and before here."""


class Row(NamedTuple):
    """What stands in one place of a file: a text, nothing, or something that cannot be used."""

    place: str
    """Where in the file, for its name; empty: it is the whole file."""
    number: int | None
    offset: int
    size: int
    text: str | None
    facts: Mapping[str, Fact] = {}
    reason: str = ""
    """Why it cannot be used."""
    start: bytes = b""


Reader = Callable[[Stream, Wanted], Iterator[Row]]


def whole(stream: Stream, wanted: Wanted) -> bytes:
    """The bytes of a file that has to be in memory whole. Raises BadRow."""
    data = stream.read(wanted.caps.file + 1)
    if len(data) > wanted.caps.file:
        raise BadRow(f"more than data.source.largest ({wanted.caps.file:,} bytes)")
    return data.removeprefix(MARK)


def text(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """The whole file, line ends as they are."""
    data = whole(stream, wanted)
    yield Row("", None, 0, len(data), decoded(data, "is not UTF-8: byte 0x{byte:02x} at offset {at:,}") if data else None)


Read = Callable[[bytes], tuple[str, Mapping[str, Fact]]]


def by_line(stream: Stream, wanted: Wanted, read: Read, header: Callable[[bytes], None] | None = None) -> Iterator[Row]:
    """A row for each line; a line is named by the byte where it begins, so that its name does not depend on how the file was cut."""
    for line in lines(stream, wanted.caps.line, wanted.start, wanted.end):
        place = (str(line.offset), line.number, line.offset, line.size)
        try:
            data = bytes_of(line, wanted.caps)
            if header is not None and line.offset == 0:
                header(data)
                continue
            text, facts = read(data) if data.strip() else (None, {})
            yield Row(*place, text, facts)
        except BadRow as reason:
            yield Row(*place, None, {}, str(reason), line.start)


def bytes_of(line: Line, caps: Caps) -> bytes:
    if line.data is None:
        raise BadRow(f"longer than {caps.line:,} bytes")
    return line.data.removeprefix(MARK) if line.offset == 0 else line.data


def plain_lines(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """Every line is a text."""
    yield from by_line(stream, wanted, lambda data: (decoded(data), {}))


def json_lines(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """Every line is a JSON object."""
    yield from by_line(stream, wanted, lambda data: fields(parsed(data, wanted.caps), wanted))


def json_array(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """An array of JSON objects, or one object."""
    data = whole(stream, wanted)
    if not data.strip():
        yield Row("", None, 0, len(data), None)
        return
    value = parsed(data, wanted.caps)
    for number, one in enumerate(value if isinstance(value, list) else [value], 1):
        try:
            yield Row(str(number), number, 0, 0, *fields(one, wanted))
        except BadRow as reason:
            yield Row(str(number), number, 0, 0, None, {}, str(reason), json.dumps(one).encode()[:START])


def tabs(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """Values between tabs, no quoting."""
    names: list[str] = []

    def header(data: bytes) -> None:
        names.extend(name.strip() for name in decoded(data).split("\t"))

    def read(data: bytes) -> tuple[str, Mapping[str, Fact]]:
        return fields(named(decoded(data).split("\t"), names), wanted)

    if wanted.header and wanted.start:                                                    # a part of the file, whose first line is elsewhere
        header(bytes_of(next(lines(stream, wanted.caps.line)), wanted.caps))
    yield from by_line(stream, wanted, read, header if wanted.header else None)


def named(values: list[str], names: list[str]) -> dict[str, str]:
    """Values by their columns' names; the first row says how many there are. Raises BadRow."""
    if not names:
        names += [str(i + 1) for i in range(len(values))]
    if len(values) != len(names):
        raise BadRow(f"{len(values)} values, expected {len(names)}")
    return dict(zip(names, values, strict=True))


def fields(value: Any, wanted: Wanted) -> tuple[str, dict[str, Fact]]:
    """The text and the facts of a row. Raises BadRow."""
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


def storable(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow(f"field '{name}' holds half a character (a lone surrogate)") from None
    return value


def fact(name: str, value: Any) -> Fact:
    """Text and numbers as they are, anything else as JSON."""
    return storable(name, value) if isinstance(value, str) else value if isinstance(value, int | float) and not isinstance(value, bool) else json.dumps(value, default=str)


def commas(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """Values between commas, quoted as in RFC 4180. A quotation that is never closed costs the line that opens it, not the rest of the file."""
    csv.field_size_limit(max(csv.field_size_limit(), wanted.caps.line))                   # a setting of the process; a line is never longer
    names: list[str] = []
    source = lines(stream, wanted.caps.line)
    waiting: list[Line] = []
    head_is_read = not wanted.header
    while waiting or (waiting := list(one(source))):
        row, taken = waiting[:1], 1
        try:
            while row[-1].data is not None and sum((line.data or b"").count(b'"') for line in row) % 2:
                if taken == len(waiting):
                    waiting += one(source)
                if taken == len(waiting) or taken == LONGEST_ROW or sum(line.size for line in row) > wanted.caps.line:
                    raise BadRow("a quotation that is not closed")
                row, taken = waiting[: taken + 1], taken + 1
            data = b"\n".join(bytes_of(line, wanted.caps) for line in row)
            values = next(csv.reader(io.StringIO(decoded(data), newline=""), strict=True), [])
            found: tuple[Any, ...] = (None,)
            if not head_is_read and values:
                names, head_is_read = [name.strip() for name in values], True
                waiting = waiting[taken:]
                continue
            if values:
                found = fields(named(values, names), wanted)
            yield Row(str(row[0].offset), row[0].number, row[0].offset, sum(line.size for line in row), *found)
        except (BadRow, csv.Error) as reason:
            yield Row(str(row[0].offset), row[0].number, row[0].offset, row[0].size, None, {}, str(reason), row[0].start)
            taken = 1                                                                     # the lines after it are looked at by themselves
        waiting = waiting[taken:]


LONGEST_ROW = 1000
"""Lines of a row of a .csv file."""


def one(source: Iterator[Line]) -> list[Line]:
    line = next(source, None)
    return [] if line is None else [line]


READERS: dict[Format, Reader] = {"text": text, "lines": plain_lines, "jsonl": json_lines, "json": json_array, "csv": commas, "tsv": tabs}
ENDINGS: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv"}
"""Endings of files that are not one text."""
CUTTABLE: frozenset[Format] = frozenset({"lines", "jsonl", "tsv"})
"""Formats whose rows are lines, so that a range of bytes can be read by itself."""


def format_of(name: str, first: bytes) -> tuple[Format, str]:
    """The format of a file by its ending and its first bytes, and, when they do not agree, what was noticed. Raises BadRow for what is no text."""
    ending = PurePosixPath(name).suffix.lower()
    said: Format = ENDINGS.get(ending, "text")
    start = first.removeprefix(MARK).lstrip()
    if said == "json" and start.startswith(b"{") and objects_by_line(start):
        return "jsonl", f"{ending} that holds JSON lines"
    if said == "jsonl" and start.startswith(b"[") and start[1:].lstrip().startswith(b"{"):
        return "json", f"{ending} that holds a JSON array"
    return said, ""


def objects_by_line(start: bytes) -> bool:
    line, end, rest = start.partition(b"\n")
    return bool(end) and line.rstrip().endswith(b"}") and rest.lstrip().startswith(b"{")
