"""Where files lie: on a disk, or in a store with an address, through fsspec."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from ftheta.core.errors import DataError, FthetaError, MissingExtraError
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


@contextlib.contextmanager
def answering(url: str) -> Iterator[None]:
    """Turns what a store's library raises when nobody answers or it refuses, keys it misses included, into a DataError that names the address."""
    try:
        yield
    except FthetaError:
        raise
    except Exception as error:                                                            # every library has errors of its own
        raise DataError(f"data.source.path: {url} cannot be looked into ({said(error)}): is the address right, and does it let you in?") from None


def said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).strip() or type(error).__name__


def store(path: str) -> BinaryIO:
    """A stored file as it lies there. Raises BadFile."""
    if is_url(path):
        found, place = filesystem(path)
        try:
            return found.open(place, "rb")
        except Exception as error:                                                        # every library has errors of its own
            raise BadFile(f"cannot be read ({said(error)})") from None
    try:
        return io.FileIO(path)                                                            # type: ignore[return-value]
    except OSError as error:
        raise BadFile(f"cannot be read ({said(error)})") from None


def stamp(path: str) -> str:
    """What changes when a file is written to. Raises BadFile when it cannot be looked at."""
    if is_url(path):
        there, place = filesystem(path)
        try:
            info = there.info(place)
        except FileNotFoundError:
            raise BadFile("vanished while it was read") from None
        except Exception as error:                                                        # every library has errors of its own
            raise BadFile(f"cannot be read ({said(error)})") from None
        return " ".join(str(info.get(name)) for name in ("size", "ETag", "LastModified", "created", "mtime"))
    try:
        found = os.stat(path)
    except OSError as error:
        raise BadFile(missing(path, error)) from None
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


def spelled(name: str) -> str:
    """A name of the disk or of an archive as text: bytes of it that are not UTF-8 as \\xNN, since no document and no order to another process can hold them."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def missing(path: str, error: OSError) -> str:
    """Why there is no file where one was found."""
    if error.errno == errno.ELOOP:
        return "a link that leads in a circle"
    if not isinstance(error, FileNotFoundError):
        return f"cannot be read ({said(error)})"
    if os.path.lexists(re.sub(rb"\\x([0-9a-f]{2})", lambda byte: bytes([int(byte[1], 16)]), os.fsencode(path))) and "\\x" in path:
        return "a name that is not UTF-8: rename the file"
    return "a link that leads nowhere" if os.path.islink(path) else "vanished while it was read"
