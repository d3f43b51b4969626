"""Encodings: text that is not UTF-8 becomes UTF-8 while it is read, so that readers know one encoding only."""

from __future__ import annotations

import codecs
import io

from ftheta.core.errors import MissingExtraError
from ftheta.data.read.bad import BadFile
from ftheta.data.read.streams import PIECE, Stream, head

MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc-kr": "cp949", "ascii": "utf-8"}
"""Encodings that hold all of the one that was found, and what people write beyond it."""


class Recoded(io.RawIOBase):
    """Bytes of some encoding as UTF-8. What the encoding has not stays as it is, so that only the line it is in cannot be used."""

    def __init__(self, stream: Stream, encoding: str):
        self.stream = stream
        self.encoding = encoding
        self.decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self.waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:                            # type: ignore[override]
        view, filled = memoryview(buffer), 0
        while filled < len(view):
            if not self.waiting:
                data = self.stream.read(PIECE)
                try:
                    self.waiting = self.decoder.decode(data, final=not data).encode("utf-8", "surrogateescape")
                except UnicodeError as error:                                             # UTF-16 cannot go on after an error
                    raise BadFile(f"is not {self.encoding} ({getattr(error, 'reason', error)})") from None
                if not data and not self.waiting:
                    break
            piece = self.waiting[: len(view) - filled]
            view[filled : filled + len(piece)] = piece
            self.waiting = self.waiting[len(piece) :]
            filled += len(piece)
        return filled


def in_utf8(stream: Stream, encoding: str) -> tuple[Stream, str]:
    """The same text in UTF-8, and what it was written in. `detect`: UTF-8 if the first bytes are, else what they look like. Raises BadFile."""
    first = head(stream, PIECE)
    found = detected(first) if encoding == "detect" else encoding
    if found == "utf-8" and (other := marked(first)):
        raise BadFile(f"is not UTF-8 but {other.upper()}: say data.source.encoding: detect")
    if codecs.lookup(found).name == "utf-8":
        return stream, "utf-8"
    return io.BufferedReader(Recoded(stream, found), PIECE), found


def marked(data: bytes) -> str:
    """What a byte order mark says, other than UTF-8."""
    return next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), "")


def detected(data: bytes) -> str:
    """What the beginning of a text is written in."""
    if encoding := marked(data):
        return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)                              # the last character may be cut off
    except UnicodeDecodeError:
        pass
    else:
        if data.count(b"\x00") * 4 < len(data):                                           # UTF-16 without a mark: every other byte of Latin letters is 0
            return "utf-8"
    even, odd = data[::2].count(b"\x00"), data[1::2].count(b"\x00")
    if max(even, odd) * 8 > len(data) and min(even, odd) * 8 <= max(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        from resiliparse.parse.encoding import detect_encoding
    except ImportError:
        raise MissingExtraError("resiliparse", "data", "finding out an encoding") from None
    found = (detect_encoding(data) or "cp1252").lower()
    return WIDER.get(found, found)
