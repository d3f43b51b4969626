"""Plain text, lines, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ftheta.data.documents import Fact
from ftheta.data.read.account import START
from ftheta.data.read.bad import BadRow
from ftheta.data.read.lines import MARK, Caps, Line, decoded, lines, parsed
from ftheta.data.read.row import Row, Wanted, fields, whole
from ftheta.data.read.streams import Stream

Read = Callable[[bytes], tuple[str, Mapping[str, Fact]]]


def text(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """The whole file, line ends as they are."""
    data = whole(stream, wanted)
    yield Row("", decoded(data.removeprefix(MARK), "is not UTF-8: byte 0x{byte:02x} at offset {at:,}"), size=len(data))


def by_line(stream: Stream, wanted: Wanted, read: Read, header: Callable[[bytes], None] | None = None) -> Iterator[Row]:
    """A row for each line; a line is named by the byte where it begins, so that its name does not depend on how the file was cut."""
    for line in lines(stream, wanted.caps.line, wanted.start, wanted.end):
        try:
            data = bytes_of(line, wanted.caps)
            if header is not None and line.offset == 0:
                header(data)
                continue
            found, facts = read(data) if data.strip() else (None, {})
            yield Row(str(line.offset), found, facts, line.number, line.offset, line.size)
        except BadRow as reason:
            yield Row(str(line.offset), None, {}, line.number, line.offset, line.size, str(reason), line.start)


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
    """An array of JSON objects, or one object; with `inside`, those that lie in its fields."""
    data = whole(stream, wanted).removeprefix(MARK)
    if not data.strip():
        yield Row("", None)
        return
    value = parsed(data, wanted.caps)
    for number, one in enumerate(nested(value, wanted.inside), 1):
        try:
            if isinstance(one, BadRow):
                raise one
            yield Row(str(number), *fields(one, wanted), number)
        except BadRow as reason:
            yield Row(str(number), None, {}, number, reason=str(reason), start=json.dumps(one, default=str).encode()[:START])


def nested(value: Any, names: Sequence[str], around: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """The rows in these fields of a JSON value, lists opened, each with the texts and numbers `around` it; a BadRow where a field is missing."""
    if isinstance(value, list):
        for one in value:
            yield from nested(one, names, around)
    elif not names:
        yield {**(around or {}), **value} if isinstance(value, dict) else value
    elif not isinstance(value, dict) or names[0] not in value:
        held = f"its fields are {', '.join(value)}" if isinstance(value, dict) else "it is no object"
        yield BadRow(f"no field '{names[0]}' of data.source.inside: {held}")
    else:
        plain = {name: one for name, one in value.items() if isinstance(one, str | int | float)}
        yield from nested(value[names[0]], names[1:], {**(around or {}), **plain})
