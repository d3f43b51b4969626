"""Where files lie: on a disk, or in a store with an address, through fsspec."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

from ftheta.core.errors import DataError, MissingExtraError
from ftheta.data.read.bad import BadFile


def is_url(path: str) -> bool:
    return "://" in path


def filesystem(url: str, named: str = "data.source.path") -> tuple[Any, str]:
    """The store an address is of, and the place in it. Raises DataError for a protocol that is not known, saying what `named` it."""
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError("fsspec", "data", f"reading {url}") from None
    try:
        store, place = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise DataError(f"{named}: {url}: {error}") from None
    store.invalidate_cache()
    return store, place


def store(path: str) -> BinaryIO:
    """A stored file as it lies there. Raises BadFile."""
    try:
        if not is_url(path):
            return io.FileIO(path)                                                        # type: ignore[return-value]
        found, place = filesystem(path)
        return found.open(place, "rb")
    except (OSError, EOFError) as error:
        raise BadFile(f"cannot be read ({getattr(error, 'strerror', None) or error or type(error).__name__})") from None


def stamp(path: str) -> str:
    """What changes when a file is written to. Raises BadFile when it is no longer there."""
    try:
        if not is_url(path):
            found = os.stat(path)
            return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"
        there, place = filesystem(path)
        info = there.info(place)
        return " ".join(str(info.get(name)) for name in ("size", "ETag", "LastModified", "created", "mtime"))
    except OSError:
        raise BadFile("vanished while it was read") from None
