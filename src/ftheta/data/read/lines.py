"""The hardened reader: lines one by one, so that a bad line costs that line and nothing else, and what a line of JSON holds.

A row is bad when its line is longer than 16 MB, is not UTF-8 or is not strict JSON (cut off, NaN, a name given twice), when it is nested
deeper than 200 or takes more than 64 MB in memory, or when the text wanted of it is missing or cannot be stored. Good rows come out
exactly as they went in, in order; every bad one is counted and, if wished, listed with its place and the reason.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from ftheta.data.read.account import START
from ftheta.data.read.bad import BadRow

MARK = b"\xef\xbb\xbf"
"""The byte order mark some editors put before UTF-8 text."""
SKIP = 1 << 20
STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""A string, also one that is never closed: so that every byte is looked at once."""
BRACKETS = re.compile(rb"[\[\]{}]")
PER_VALUE = 56
"""Bytes that an empty container or a number takes in memory, at least."""


@dataclass(frozen=True)
class Caps:
    """What a row may cost."""

    line: int = 16 << 20
    """Bytes of a line, its end not counted."""
    row: int = 64 << 20
    """Bytes in memory, estimated before it is read."""
    nesting: int = 200
    """Containers within containers."""
    file: int = 64 << 20
    """Bytes of a file, or a member of an archive, that has to be in memory whole."""
    unpacked: int = 64 << 30
    """Bytes that may come out of one packed file."""
    ratio: int = 200
    """Bytes that may come out of one byte of it."""


class Line(NamedTuple):
    """One line of a file."""

    number: int | None
    """From 1; None when the file was not read from its beginning."""
    offset: int
    """Where it begins."""
    size: int
    """Bytes, its end counted."""
    data: bytes | None
    """Without the end; None when too long to hold."""
    start: bytes
    """How it begins."""


def lines(stream: BinaryIO, longest: int, start: int = 0, end: int | None = None) -> Iterator[Line]:
    """Every line that begins at `start` or later and before `end`, never more than `longest` bytes of one in memory."""
    offset, number = start, 0 if start == 0 else None
    if start:                                                                             # the line that begins at start, if start - 1 ends one
        stream.seek(start - 1)
        size, ended = rest_of_line(stream, None if end is None else end - start)
        if not ended:                                                                     # none begins in here
            return
        offset += size - 1
    while (end is None or offset < end) and (data := stream.readline(longest + 1)):
        number, size = None if number is None else number + 1, len(data)
        whole = size <= longest or data.endswith(b"\n")
        if not whole:
            size += rest_of_line(stream)[0]
        yield Line(number, offset, size, data.removesuffix(b"\n").removesuffix(b"\r") if whole else None, data[:START])
        offset += size


def rest_of_line(stream: BinaryIO, most: int | None = None) -> tuple[int, bool]:
    """Read on to the next line, or `most` bytes: how many that took, and whether the line ended."""
    size, piece = 0, b""
    while (most is None or size < most) and (piece := stream.readline(SKIP if most is None else min(SKIP, most - size))):
        size += len(piece)
        if piece.endswith(b"\n"):
            return size, True
    return size, False


def decoded(data: bytes, complaint: str = "not UTF-8 (byte 0x{byte:02x})") -> str:
    """UTF-8 as text. Raises BadRow naming the byte."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadRow(complaint.format(byte=data[error.start], at=error.start)) from None


def parsed(data: bytes, caps: Caps) -> Any:
    """Strict JSON. Raises BadRow; what would take too much memory or stack is refused before it is read."""
    text = decoded(data)
    if data.count(b"[") + data.count(b"{") > caps.nesting and nesting(data) > caps.nesting:
        raise BadRow(f"nested deeper than {caps.nesting}")
    if size_of(data) > caps.row and size_of(STRINGS.sub(b'""', data)) + len(data) > caps.row:
        raise BadRow(f"larger than {caps.row:,} bytes in memory")
    try:
        return STRICT.decode(text)
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


STRICT = json.JSONDecoder(object_pairs_hook=unique, parse_constant=refused, parse_float=finite)
