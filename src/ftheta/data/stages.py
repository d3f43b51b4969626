"""Stages: pure functions of their inputs' content and their own configuration, committed once under a content address.

The same key always finds the same folder, so restarting, caching and lineage follow from the address alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import platformdirs
import xxhash

from ftheta.core.atomic import Attempt, clear_attempts, commit, lock, verify
from ftheta.core.errors import FolderError
from ftheta.core.log import logger

VERSION = 2
"""Part of every address: raised when a stage's output format changes."""


def home() -> Path:
    """Where derived data lives: `$FTHETA_HOME`, else the user's cache folder."""
    return Path(os.environ.get("FTHETA_HOME") or platformdirs.user_cache_dir("ftheta"))


def digest(value: Any) -> str:
    """A content address of plain data or bytes."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    return xxhash.xxh3_128_hexdigest(data)


def stage(cache: Path, name: str, key: Mapping[str, Any], build: Callable[[Attempt], None]) -> Path:
    """The committed folder of this stage for this key, built if it is not there or does not verify.

    Two processes that want it at once: one builds under a lock, the other waits and finds it. Raises FolderError when there is something to build and the
    cache cannot be written.
    """
    address = digest({"stage": name, "version": VERSION, **key})
    folder = cache / name / address
    if folder.is_dir() and not (found := verify(folder)):
        return folder
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock(cache / name / f".{address}-lock", lambda owner: logger.info("%s: waiting for process %s, which is making it ...", name, owner)))
        except OSError as error:
            raise FolderError(f"the cache {cache} cannot be written ({error.strerror}): set FTHETA_HOME to a folder that can") from None
        if folder.is_dir():
            if not (found := verify(folder)):
                return folder
            logger.warning("%s: cached data is damaged and is built again (%s)", name, found[0])
        clear_attempts(cache / name, address)                                             # other addresses may be being built right now
        with commit(folder, {"stage": name, "key": dict(key)}, replace=True) as attempt:
            build(attempt)
    return folder
