"""Archives: the members of .tar and .zip files one after the other, never written to disk, names that lead out of the archive refused."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from ftheta.data.read.bad import BadFile
from ftheta.data.read.lines import Caps
from ftheta.data.read.stores import spelled
from ftheta.data.read.streams import PIECE, Budget, Stream, Watched, head, unpacked

DEEPEST = 2
"""Archives within each other: one in another, and no deeper."""
OTHERS = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".epub", ".jar", ".whl", ".apk")
"""Endings of files that are .zip files inside and not meant as archives."""
LONGEST_NAME = 1 << 20
NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
"""Sorts of headers that only say what the next member is called, and the like."""


class Entry(NamedTuple):
    """A file, or a member of an archive, unpacked."""

    name: str
    stream: Stream | None
    """None: it cannot be read."""
    reason: str = ""


class Header(tarfile.TarInfo):
    """A member's header; a damaged one is an error (tarfile takes it for the end), and one with a name of gigabytes is not read."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> Header:                   # type: ignore[override]
        try:
            return super().frombuf(buf, encoding, errors)                                 # type: ignore[return-value]
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:       # type: ignore[attr-defined]
            raise BadFile(f"damaged .tar ({error})") from None

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size > LONGEST_NAME and self.type in NAMES:
            raise BadFile("damaged .tar (a name of a million bytes)")
        return super()._proc_member(tar)                                                  # type: ignore[misc]


def entries(name: str, stored: BinaryIO, caps: Caps) -> Iterator[Entry]:
    """A stored file, or, if it is an archive, its members; packed ones unpacked. What cannot be read is an entry with a reason."""
    budget = Budget(caps)

    def take(count: int) -> None:
        budget.taken += count

    yield from opened(name, io.BufferedReader(Watched(stored, take), PIECE), budget, 0)   # type: ignore[arg-type]


def opened(name: str, stream: Stream, budget: Budget, depth: int) -> Iterator[Entry]:
    try:
        stream, _ = unpacked(stream, budget)
        sort = archive(name, head(stream))
        if sort and depth == DEEPEST:
            raise BadFile("an archive in an archive in an archive")
        if not sort:
            yield Entry(name, stream)
        elif sort == "tar":
            yield from tar(name, stream, budget, depth + 1)
        else:
            yield from zipped(name, stream, budget, depth + 1)
    except BadFile as reason:
        yield Entry(name, None, str(reason))


def archive(name: str, first: bytes) -> str:
    """`tar`, `zip`, or nothing."""
    if first[257:262] == b"ustar":
        return "tar"
    zipped = first.startswith((b"PK\x03\x04", b"PK\x05\x06")) and not name.lower().endswith(OTHERS)
    return "zip" if zipped else ""


def unsafe(name: str) -> str:
    """Why a member's name is refused."""
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or name[1:2] == ":":
        return "an absolute name in an archive"
    return "a name that leads out of the archive" if ".." in place.parts else ""


def tar(name: str, stream: Stream, budget: Budget, depth: int) -> Iterator[Entry]:
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=Header) as opened_tar:       # one after the other: nothing is kept
            while (info := opened_tar.next()) is not None:
                opened_tar.members = []                                                   # type: ignore[misc]
                member = f"{name}/{spelled(info.name)}"
                if info.isdir():
                    continue
                if reason := unsafe(info.name):
                    yield Entry(member, None, reason)
                elif not info.isreg():
                    yield Entry(member, None, "a link or a device in an archive")
                elif (file := opened_tar.extractfile(info)) is not None:
                    yield from opened(member, io.BufferedReader(Watched(file, lambda _: None, ".tar"), PIECE), budget, depth)  # type: ignore[arg-type]
    except (tarfile.TarError, EOFError) as error:
        raise BadFile(f"damaged .tar ({error})") from None


def zipped(name: str, stream: Stream, budget: Budget, depth: int) -> Iterator[Entry]:
    if not stream.seekable():                                                             # its table of contents is at its end
        data = stream.read(budget.caps.file + 1)
        if len(data) > budget.caps.file:
            raise BadFile(f"a packed .zip of more than {budget.caps.file:,} bytes")
        stream = io.BufferedReader(io.BytesIO(data))                                      # type: ignore[arg-type]
    try:
        with zipfile.ZipFile(stream) as opened_zip:
            for info in opened_zip.infolist():
                member = f"{name}/{info.filename}"
                if info.is_dir():
                    continue
                if reason := unsafe(info.filename) or ("encrypted" if info.flag_bits & 1 else ""):
                    yield Entry(member, None, reason)
                    continue
                try:
                    with opened_zip.open(info) as file:
                        yield from opened(member, io.BufferedReader(Watched(file, budget.give, ".zip"), PIECE), budget, depth)  # type: ignore[arg-type]
                except (zipfile.BadZipFile, zlib.error, NotImplementedError, UnicodeDecodeError) as error:  # one damaged member, the others may be whole
                    yield Entry(member, None, f"damaged .zip ({error})")
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:                # the last: a name said to be UTF-8 that is not
        raise BadFile(f"damaged .zip ({error})") from None
