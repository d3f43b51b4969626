"""Stages: pure functions of their inputs' content and their own configuration, committed once under a content address.

The same key always finds the same folder, so restarting, caching and lineage follow from the address alone.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import platformdirs
import xxhash

from ftheta.core.atomic import Attempt, changed, clear_attempts, commit, lock, read_manifest, verify
from ftheta.core.errors import DamagedError, FolderError
from ftheta.core.log import logger

VERSION = 1
"""Part of every address: raised when a stage's output format changes."""


def home() -> Path:
    """Where derived data lives: `$FTHETA_HOME`, else the user's cache folder."""
    return Path(os.environ.get("FTHETA_HOME") or platformdirs.user_cache_dir("ftheta"))


def digest(value: Any) -> str:
    """A content address of plain data or bytes."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    return xxhash.xxh3_128_hexdigest(data)


def place_of(cache: Path, name: str, key: Mapping[str, Any]) -> Path:
    """Where the folder of this stage for this key is, or will be."""
    return cache / name / digest({"stage": name, "version": VERSION, **key})


def stage(cache: Path, name: str, key: Mapping[str, Any], build: Callable[[Attempt], None], thorough: bool = True) -> Path:
    """The committed folder of this stage for this key, built if it is not there or does not verify.

    Without `thorough` the contents of a folder that is found are not looked at: for those whose files are read by way of `intact`.
    Two processes that want it at once: one builds under a lock, the other finds it afterwards.
    """
    folder = place_of(cache, name, key)
    address = folder.name
    if folder.is_dir() and not verify(folder, thorough):
        return folder
    with lock(cache / name / f".{address}-lock"):
        if folder.is_dir():
            if not (found := verify(folder, thorough)):
                return folder
            logger.warning("%s: cached data is damaged and is built again (%s)", name, found[0])
        clear_attempts(cache / name, address)                                             # other addresses may be being built right now
        with commit(folder, {"stage": name, "key": dict(key)}, replace=True) as attempt:
            build(attempt)
    return folder


def intact(folder: Path, name: str) -> Path:
    """A file of a stage's folder, its content verified when this process first reads it.

    Raises DamagedError naming it; the folder is taken away, so that whoever looks for it next makes it anew.
    """
    place = folder / name
    try:
        found = place.stat()
        reason = differs(folder, name, (found.st_size, found.st_mtime_ns, found.st_ino))
    except (OSError, FolderError) as error:
        reason = f"cannot be read: {error}"
    if reason:
        shutil.rmtree(folder, ignore_errors=True)
        raise DamagedError(f"{place} {reason}: {folder.parent.name}/{folder.name} is taken away, and made again by the same command")
    return place


@functools.lru_cache(1 << 16)
def differs(folder: Path, name: str, stamp: tuple[int, int, int]) -> str:
    """How a file differs from what was written, in words; looked at again when its size, time or place on the disk changes."""
    entry = read_manifest(folder)["files"].get(name)
    return "is not in the file table" if entry is None else changed(folder / name, entry)
