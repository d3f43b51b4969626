"""What files are recognised by: a hash of what each holds, taken once as long as its size, its time and its place on the disk stay the same."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ftheta.core.atomic import digest_file, encode_json, write_file
from ftheta.core.errors import DataError
from ftheta.data.read.bad import BadFile
from ftheta.data.read.stores import filesystem, is_url, stamp
from ftheta.data.stages import digest

SETTLED = 2.0
"""Seconds without a change after which a file's time tells any later change: clocks of file systems are coarse."""


class Content(NamedTuple):
    """A file as it was found."""

    hash: str
    stamp: str
    """What changes when it is written to."""


GONE = Content("", "")
"""Of a file that cannot be found, or a link that leads nowhere."""


def content_of(path: str) -> Content:
    """What a file is recognised by: a hash of what it holds, or what a store says of it. Raises DataError when it is being written, or the disk fails.

    A file that cannot be found or may not be read has a content, too: what reads it then says so by name and does with it what the source's policy is.
    """
    try:
        before = stamp(path)
        if is_url(path):
            found, place = filesystem(path)
            return Content(str(found.ukey(place)), before)
        hash = digest_file(Path(path))
        if stamp(path) != before:
            raise DataError(f"{path} changed while it was read: run the same command again when it is whole")
        return Content(hash, before)
    except (BadFile, FileNotFoundError):
        return GONE
    except PermissionError:
        return Content(f"not allowed {before}", before)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


class Contents:
    """The contents of the files of a source, remembered in the cache for the next time."""

    def __init__(self, cache: Path, source: Mapping[str, Any]):
        self.place = cache.parent / "contents" / f"{digest(source)}.json"                      # no stage: it is about paths of this machine
        try:
            self.before = {path: Content(*found) for path, found in json.loads(self.place.read_bytes()).items()}
        except (OSError, ValueError, TypeError, AttributeError):                          # none yet, or cut off: then files are hashed again
            self.before = {}
        self.now: dict[str, Content] = {}

    def of(self, path: str) -> Content:
        """As `content_of`."""
        if path not in self.now:
            known = self.before.get(path)
            self.now[path] = known if known is not None and not is_url(path) and known.stamp == stamp_of(path) else content_of(path)
        return self.now[path]

    def keep(self) -> None:
        """Remember them, but for files that were written a moment ago."""
        settled = time.time() - SETTLED
        found = {path: content for path, content in self.now.items() if not is_url(path) and written(path) < settled}
        if found != self.before:
            with contextlib.suppress(OSError):                                            # then files are hashed again; a cache that cannot be written is told by its stages
                self.place.parent.mkdir(parents=True, exist_ok=True)
                write_file(self.place, encode_json(found))


def stamp_of(path: str) -> str:
    try:
        return stamp(path)
    except BadFile:
        return ""


def written(path: str) -> float:
    """When a file was written; of one that is gone, never long enough ago."""
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return float("inf")
