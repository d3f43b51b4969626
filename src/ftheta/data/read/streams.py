"""Streams of bytes: opened from a disk or a store, unpacked while they are read, and never more out of them than is allowed."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa

from ftheta.data.read.bad import BadFile
from ftheta.data.read.lines import Caps

Stream: TypeAlias = "io.BufferedReader[Any]"
PIECE = 1 << 16
MOST = 1 << 20
"""Bytes that are unpacked at once, before they are counted."""
PACKED = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2"}
"""How packed files begin → their ending."""
MEMORY = 256 << 20
"""Bytes that unpacking a .xz file may take."""
FREE = 64 << 20
"""Bytes that may come out of any file, however small it is packed."""


class Budget:
    """What may still come out of one stored file: `caps.unpacked` bytes, and `caps.ratio` for each byte of it that was read."""

    def __init__(self, caps: Caps):
        self.caps = caps
        self.taken = 0
        """Bytes read of the stored file."""
        self.given = 0
        """Bytes that were unpacked from it."""

    def give(self, count: int) -> None:
        """Raises BadFile when this is more than may come out."""
        self.given += count
        if self.given > self.caps.unpacked:
            raise BadFile(f"unpacks to more than {self.caps.unpacked:,} bytes")
        if self.given > FREE and self.given > self.caps.ratio * self.taken:
            raise BadFile(f"unpacks to more than {self.caps.ratio:,} times its size: a decompression bomb")


class Watched(io.RawIOBase):
    """A stream that tells how many bytes were read of it, and turns what goes wrong into BadFile."""

    def __init__(self, inner: BinaryIO, count: Callable[[int], None], packing: str = ""):
        self.inner = inner
        self.count = count
        self.packing = packing
        self.failed: BadFile | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.packing == "" and self.inner.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.inner.seek(offset, whence)

    def tell(self) -> int:
        return self.inner.tell()

    def readinto(self, buffer: bytearray | memoryview) -> int:                            # type: ignore[override]
        """As much as the buffer holds, less only at the end or before damage: so that the first bytes can be looked at whole, and all good ones are read."""
        if self.failed:
            raise self.failed
        view, filled = memoryview(buffer), 0
        try:
            while filled < len(view) and (data := self.inner.read(min(len(view) - filled, MOST))):
                view[filled : filled + len(data)] = data
                filled += len(data)
                self.count(len(data))
        except (EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, OSError) as error:
            complaint = f"damaged {self.packing} data ({error})" if self.packing else f"cannot be read ({getattr(error, 'strerror', None) or error})"
            self.failed = BadFile(complaint)
            if not filled:
                raise self.failed from None
        return filled


class Inflate:
    """What unpacks one stream of gzip, as bz2 and lzma have it."""

    def __init__(self) -> None:
        self.inner = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self.inner.eof

    @property
    def needs_input(self) -> bool:
        return not self.inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self.inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self.inner.decompress(self.inner.unconsumed_tail + data, max_length)


class Unpacked(io.RawIOBase):
    """What is packed in streams end to end. Python's classes lose what they have unpacked before damage, and let a .xz file say how much memory it takes."""

    def __init__(self, packed: BinaryIO, make: Callable[[], Any]):
        self.packed = packed
        self.make = make
        self.unpack = make()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while True:
            if self.unpack.eof:
                rest = (self.unpack.unused_data or self.packed.read(PIECE)).lstrip(b"\x00")  # between streams there may be padding
                if not rest:
                    return b""
                self.unpack = self.make()
            else:
                rest = self.packed.read(PIECE) if self.unpack.needs_input else b""
                if not rest and self.unpack.needs_input:
                    raise EOFError("cut off before its end")
            if data := self.unpack.decompress(rest, size):
                return data


UNPACK: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": lambda packed: Unpacked(packed, Inflate), ".bz2": lambda packed: Unpacked(packed, bz2.BZ2Decompressor),
    ".xz": lambda packed: Unpacked(packed, lambda: lzma.LZMADecompressor(memlimit=MEMORY)),
    ".zst": lambda packed: pa.CompressedInputStream(pa.PythonFile(packed, "r"), "zstd"),
}


def head(stream: Stream, size: int = 4096) -> bytes:
    """The first bytes, still to be read."""
    return stream.peek(size)[:size]


def is_packed(first: bytes) -> bool:
    return any(first.startswith(magic) for magic in PACKED)


def unpacked(stream: Stream, budget: Budget) -> tuple[Stream, str]:
    """What is packed in a stream, and the ending that says how; the stream itself and nothing if it is not packed. Raises BadFile."""
    first = head(stream)
    packing = next((ending for magic, ending in PACKED.items() if first.startswith(magic)), "")
    if not packing:
        return stream, ""
    inner = io.BufferedReader(Watched(UNPACK[packing](stream), budget.give, packing), PIECE)
    if is_packed(head(inner)):
        raise BadFile("packed more than once")
    return inner, packing
