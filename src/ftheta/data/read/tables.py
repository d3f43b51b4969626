"""Rows of tables: values between tabs or commas, and Parquet and Arrow files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ftheta.data.documents import Fact
from ftheta.data.read.account import START
from ftheta.data.read.bad import BadFile, BadRow
from ftheta.data.read.lines import Line, decoded, lines
from ftheta.data.read.row import Row, Wanted, columns, fields, named, whole
from ftheta.data.read.streams import Stream, head
from ftheta.data.read.texts import by_line, bytes_of

LONGEST_ROW = 1000
"""Lines of a row of a .csv file."""
BATCH = 128
"""Rows of a .parquet file that are in memory at once."""


def tabs(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """Values between tabs, no quoting."""
    names: list[str] = []

    def header(data: bytes) -> None:
        names.extend(columns(decoded(data).split("\t")))
        refuse_missing(names, wanted)

    def read(data: bytes) -> tuple[str, Mapping[str, Fact]]:
        return fields(named(decoded(data).split("\t"), names), wanted)

    if wanted.header and wanted.start:                                                    # a part of the file, whose first line is elsewhere
        header(bytes_of(next(lines(stream, wanted.caps.line)), wanted.caps))
    yield from by_line(stream, wanted, read, header if wanted.header else None)


def refuse_missing(names: list[str], wanted: Wanted) -> None:
    for name in wanted.text:
        if name not in names:
            raise BadFile(f"no column '{name}' (columns: {', '.join(names)})")


def commas(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """Values between commas, quoted as in RFC 4180. A quotation that is never closed costs the line that opens it, not the rest of the file."""
    csv.field_size_limit(max(csv.field_size_limit(), wanted.caps.line))                   # a setting of the process; a line is never longer
    names: list[str] = []
    source = lines(stream, wanted.caps.line)
    waiting: list[Line] = []
    while waiting or (waiting := following(source)):
        taken, reader = 1, csv.reader(row_lines(waiting, source, wanted), strict=True)
        try:
            values = next(reader, [])
            taken = max(1, reader.line_num)
            if values and wanted.header and not names:
                names = columns(values)
                refuse_missing(names, wanted)
            else:
                found, facts = fields(named(values, names), wanted) if values else (None, {})
                first = waiting[0]
                yield Row(str(first.offset), found, facts, first.number, first.offset, sum(line.size for line in waiting[:taken]))
        except (BadRow, csv.Error) as reason:
            bad, taken = waiting[0], 1                                                    # the lines after it are looked at by themselves
            yield Row(str(bad.offset), None, {}, bad.number, bad.offset, bad.size, str(reason), bad.start)
        del waiting[:taken]


def row_lines(waiting: list[Line], source: Iterator[Line], wanted: Wanted) -> Iterator[str]:
    """The lines that the next row may have, with their ends. Raises BadRow when it has too many."""
    size = 0
    for number in range(LONGEST_ROW):
        if number == len(waiting):
            waiting += following(source)
        if number == len(waiting):
            return
        line = waiting[number]
        if (size := size + line.size) > wanted.caps.line:
            raise BadRow(f"longer than {wanted.caps.line:,} bytes")
        yield decoded(bytes_of(line, wanted.caps)) + ("\r\n" if line.size == len(line.data or b"") + 2 else "\n")
    raise BadRow("a quotation that is not closed")


def following(source: Iterator[Line]) -> list[Line]:
    """The next line, if there is one."""
    line = next(source, None)
    return [] if line is None else [line]


def parquet(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """Rows of a Parquet file, some at a time, only the columns that are wanted."""
    file = stream if stream.seekable() else io.BytesIO(whole(stream, wanted))             # its table of contents is at its end
    try:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as opened:
            names = opened.schema_arrow.names
            refuse_missing(names, wanted)
            chosen = [name for name in dict.fromkeys((*wanted.text, *wanted.facts)) if name in names]
            yield from of_batches(opened.iter_batches(BATCH, columns=chosen), wanted)
    except (pa.ArrowException, OSError) as error:
        raise BadFile(f"damaged Parquet ({brief(error)})") from None


def arrow(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """Rows of an Arrow file, or stream, batch by batch."""
    is_file = head(stream).startswith(b"ARROW1")
    try:
        if is_file:
            opened = pa.ipc.open_file(stream if stream.seekable() else pa.py_buffer(whole(stream, wanted)))
            schema, batches = opened.schema, (opened.get_batch(i) for i in range(opened.num_record_batches))
        else:
            opened = pa.ipc.open_stream(stream)
            schema, batches = opened.schema, iter(opened)
        refuse_missing(schema.names, wanted)
        yield from of_batches(batches, wanted)
    except (pa.ArrowException, OSError) as error:
        raise BadFile(f"damaged Arrow ({brief(error)})") from None


def of_batches(batches: Iterator[pa.RecordBatch], wanted: Wanted) -> Iterator[Row]:
    number = 0
    for batch in batches:
        taken = {name: values_of(batch.column(name)) for name in dict.fromkeys((*wanted.text, *wanted.facts)) if name in batch.schema.names}
        for values in zip(*taken.values(), strict=True):
            number += 1
            try:
                row = {name: decoded(value) if isinstance(value, bytes) else value for name, value in zip(taken, values, strict=True)}
                yield Row(str(number), *fields(row, wanted), number)
            except BadRow as reason:
                yield Row(str(number), None, {}, number, reason=str(reason), start=str(values).encode("utf-8", "replace")[:START])


def values_of(column: pa.Array) -> list[Any]:
    """A column's values, text as the bytes it is: Arrow does not look whether it is UTF-8, nor where in memory a file says it lies."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.binary() if pa.types.is_string(column.type) else pa.large_binary())
    column.validate(full=True)
    return column.to_pylist()


def brief(error: Exception) -> str:
    return str(error).partition("\n")[0][:100]
