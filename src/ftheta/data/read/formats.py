"""Formats: how the bytes of a file become rows of text, chosen by the file's ending and its first bytes."""

from __future__ import annotations

import codecs
from pathlib import PurePosixPath
from typing import Literal

from ftheta.data.read.bad import BadFile
from ftheta.data.read.lines import MARK
from ftheta.data.read.pages import html, warc
from ftheta.data.read.pdf import pdf
from ftheta.data.read.row import Reader
from ftheta.data.read.streams import PACKED
from ftheta.data.read.tables import arrow, commas, parquet, tabs
from ftheta.data.read.texts import json_array, json_lines, plain_lines, text

Format = Literal["text", "lines", "jsonl", "json", "csv", "tsv", "parquet", "arrow", "html", "warc", "pdf"]
READERS: dict[Format, Reader] = {
    "text": text, "lines": plain_lines, "jsonl": json_lines, "json": json_array, "csv": commas, "tsv": tabs, "parquet": parquet, "arrow": arrow,
    "html": html, "warc": warc, "pdf": pdf,
}
ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
    ".html": "html", ".htm": "html", ".xhtml": "html", ".warc": "warc", ".wet": "warc", ".pdf": "pdf",
}
"""Endings of files that are not one text."""
CUTTABLE: frozenset[Format] = frozenset({"lines", "jsonl", "tsv"})
"""Formats whose rows are lines, so that a range of bytes can be read by itself."""
ENCODED: frozenset[Format] = frozenset({"text", "lines", "jsonl", "json", "csv", "tsv"})
"""Formats of plain text; the others say themselves how theirs is written."""
BINARY: dict[bytes, Format] = {b"PAR1": "parquet", b"ARROW1\x00\x00": "arrow", b"%PDF-": "pdf", b"WARC/1.": "warc"}
"""How files of formats begin that nothing else begins with."""
NO_TEXT = {
    b"\x89PNG\r\n": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture", b"II*\0": "a TIFF picture", b"MM\0*": "a TIFF picture",
    b"\x00\x00\x01\x00": "an icon", b"OggS": "sound", b"ID3": "sound", b"\x7fELF": "a program", b"MZ": "a program", b"\xca\xfe\xba\xbe": "a program",
    b"\xa7\r\r\n": "compiled Python", b"SQLite format 3": "a database",
    b"PK\x03\x04": "an Office document or the like", b"\xd0\xcf\x11\xe0": "an old Office document", b"7z\xbc\xaf": "a .7z archive", b"Rar!": "a .rar archive",
}
"""How files begin that are no text, if they are not UTF-8 either."""
CODE = {
    ".c": "c", ".h": "c", ".cc": "c++", ".cpp": "c++", ".hpp": "c++", ".cs": "c#", ".css": "css", ".go": "go", ".java": "java", ".js": "javascript",
    ".mjs": "javascript", ".jl": "julia", ".kt": "kotlin", ".lua": "lua", ".php": "php", ".pl": "perl", ".py": "python", ".pyi": "python", ".r": "r",
    ".rb": "ruby", ".rs": "rust", ".scala": "scala", ".sh": "shell", ".sql": "sql", ".swift": "swift", ".ts": "typescript", ".tsx": "typescript", ".tex": "latex",
}
"""Endings of source code → the language, which is the fact `code`."""


def ending(name: str) -> str:
    """The ending of a file's name, without that of its packing."""
    for packing in PACKED.values():
        name = name.removesuffix(packing)
    return PurePosixPath(name).suffix.lower()


def format_of(name: str, first: bytes) -> tuple[Format, str]:
    """The format of a file by its ending and its first bytes, and, where they do not agree, what was noticed. Raises BadFile for what is no text."""
    called = ending(name)
    said: Format = ENDINGS.get(called, "text")
    start = first.removeprefix(MARK).lstrip()
    found: Format | None = next((format for magic, format in BINARY.items() if first.startswith(magic)), None)
    if found is not None:
        return found, f"{called or 'a file without ending'} that is {found.upper()}" if found != said else ""
    if said in BINARY.values() and not (said == "arrow" and first.startswith(b"\xff\xff\xff\xff")):
        raise BadFile(f"called {called}, but is none")
    if said == "json" and start.startswith(b"{") and objects_by_line(start):
        return "jsonl", f"{called} that holds JSON lines"
    if said == "jsonl" and start.startswith(b"[") and start[1:].lstrip().startswith(b"{"):
        return "json", f"{called} that holds a JSON array"
    if (what := next((what for magic, what in NO_TEXT.items() if first.startswith(magic)), "")) and not is_utf8(first):
        raise BadFile(f"{what}, no text")
    if said == "text" and not called and start[:9].lower().startswith((b"<!doctype", b"<html")):
        return "html", "a file without ending that is HTML"
    return said, ""


def objects_by_line(start: bytes) -> bool:
    line, end, rest = start.partition(b"\n")
    return bool(end) and line.rstrip().endswith(b"}") and rest.lstrip().startswith(b"{")


def is_utf8(first: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(first)
    except UnicodeDecodeError:
        return False
    return True
