"""Text files of a folder as documents; `python:stdlib` is the standard library of the running interpreter."""

from __future__ import annotations

import fnmatch
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from ftheta.core.errors import DataError
from ftheta.core.log import logger
from ftheta.data.documents import Document
from ftheta.data.text import TextSource

STDLIB = "python:stdlib"
NOT_SOURCE = ("test/**", "**/test/**", "**/tests/**", "**/idle_test/**", "idlelib/**", "lib2to3/**", "site-packages/**", "**/__pycache__/**")
"""Tests, vendored packages and caches, left out of `python:stdlib`."""


class TextFiles(TextSource):
    """Every matching file below a folder (or one file) is a document."""

    kind: Literal["text_files"] = "text_files"
    path: str
    """A folder, a file, or `python:stdlib`."""
    include: tuple[str, ...] = ("**/*",)
    """Patterns of files to take, relative to the folder."""
    exclude: tuple[str, ...] = ()
    """Patterns of files to leave out."""
    on_bad: Literal["error", "skip"] = "error"
    """What to do with a file that is not UTF-8: stop, or leave it out and say so."""
    largest: int = Field(default=64 << 20, gt=0)
    """Bytes; a larger file is bad."""

    def root(self) -> Path:
        if self.path == STDLIB:
            return Path(sysconfig.get_paths()["stdlib"])
        root = Path(self.path).expanduser()
        if not root.exists():
            raise DataError(f"data.source.path: {root} does not exist")
        return root

    def files(self) -> list[Path]:
        """Matching files in a fixed order. Raises DataError when there is none."""
        root = self.root()
        if root.is_file():
            return [root]
        left_out = self.exclude + (NOT_SOURCE if self.path == STDLIB else ())
        found = []
        for place in sorted(root.rglob("*")):
            name = place.relative_to(root).as_posix()
            if matches(name, self.include) and not matches(name, left_out) and place.is_file():
                found.append(place)
        if not found:
            raise DataError(f"data.source: no file below {root} matches {list(self.include)}")
        return found

    def documents(self) -> Iterator[Document]:
        root, bad = self.root(), 0
        for place in self.files():
            name = place.name if root.is_file() else place.relative_to(root).as_posix()
            try:
                yield Document(name, read_text(place, self.largest))
            except DataError as error:
                if self.on_bad == "error":
                    raise DataError(f"{error}; set data.source.on_bad: skip to leave such files out") from None
                bad += 1
                logger.warning("left out: %s", error)
        if bad:
            logger.warning("data.source: %d of %d files were left out", bad, len(self.files()))


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """`**/` also matches no folder at all, as in shells."""
    return any(fnmatch.fnmatchcase(name, p) or (p.startswith("**/") and fnmatch.fnmatchcase(name, p[3:])) for p in patterns)


def read_text(path: Path, largest: int) -> str:
    """A whole UTF-8 file, newlines as they are. Raises DataError naming the file and the byte."""
    try:
        size = path.stat().st_size
        if size > largest:
            raise DataError(f"{path} has {size:,} bytes, more than data.source.largest ({largest:,})")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {error.start:,}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
