"""Stages: pure functions of their inputs' content and their own configuration, committed once under a content address.

The same key always finds the same folder, so restarting, caching and lineage follow from the address alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import platformdirs
import xxhash

from ftheta.core.atomic import Attempt, clear_attempts, commit, lock, verify
from ftheta.core.errors import DataError
from ftheta.core.log import logger

VERSION = 1
"""Part of every address: raised when a stage's output format changes."""


def home() -> Path:
    """Where derived data lives: `$FTHETA_HOME`, else the user's cache folder."""
    return Path(os.environ.get("FTHETA_HOME") or platformdirs.user_cache_dir("ftheta"))


def where(cache: Path) -> str:
    """A cache as other machines find it."""
    return str(cache.absolute())


def cache_at(where: str) -> Path:
    """This machine's folder for what `where` says."""
    return Path(where)


def available(cache: Path, folder: Path) -> Path:
    """A committed folder of the cache that another process has made. Raises DataError when it is not to be found here."""
    if not folder.is_dir():
        raise DataError(f"{folder} was made by another machine and is not here: set FTHETA_HOME to a folder that all machines share")
    return folder


def digest(value: Any) -> str:
    """A content address of plain data or bytes."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    return xxhash.xxh3_128_hexdigest(data)


def stage(cache: Path, name: str, key: Mapping[str, Any], build: Callable[[Attempt], None]) -> Path:
    """The committed folder of this stage for this key, built if it is not there or does not verify.

    Two processes that want it at once: one builds under a lock, the other finds it afterwards.
    """
    address = digest({"stage": name, "version": VERSION, **key})
    folder = cache / name / address
    if folder.is_dir() and not (found := verify(folder)):
        return folder
    with lock(cache / name / f".{address}-lock", wait=True):
        if folder.is_dir():
            if not (found := verify(folder)):
                return folder
            logger.warning("%s: cached data is damaged and is built again (%s)", name, found[0])
        clear_attempts(cache / name, address)                                             # other addresses may be being built right now
        with commit(folder, {"stage": name, "key": dict(key)}, replace=True) as attempt:
            build(attempt)
    return folder
