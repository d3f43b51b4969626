"""Stages: pure functions of their inputs' content and their own configuration, committed once under a content address.

The same key always finds the same folder, so restarting, caching and lineage follow from the address alone.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
import xxhash

from ftheta.core.atomic import Attempt, changed, clear_attempts, commit, lock, read_manifest, sync_folder, verify
from ftheta.core.errors import DamagedError, DataError, FolderError
from ftheta.core.log import logger
from ftheta.data.read.stores import is_url
from ftheta.data.store import Store

TRIES = 99
"""How many damaged folders are made again before it is the disk that is at fault."""
T = TypeVar("T")
VERSION = 2
"""Part of every address: raised when a stage's output format changes."""


def home() -> Path:
    """Where derived data lives: `$FTHETA_HOME`, else the user's cache folder. Of an address (s3://bucket/prefix) it is this machine's folder of copies."""
    given = os.environ.get("FTHETA_HOME")
    return cache_at(given) if given else Path(platformdirs.user_cache_dir("ftheta"))


def copies() -> Path:
    """The folder of this machine for copies from stores: `copies()/s3/bucket/prefix` are those of s3://bucket/prefix."""
    return Path(platformdirs.user_cache_dir("ftheta")) / "copies"


def cache_at(where: str) -> Path:
    """This machine's folder for a path or an address."""
    return copies() / where.replace("://", "/", 1) if is_url(where) else Path(where)


def where(cache: Path) -> str:
    """The path or address of a cache, as other machines find it."""
    if not cache.is_relative_to(copies()):
        return str(cache.absolute())
    protocol, _, place = cache.relative_to(copies()).as_posix().partition("/")
    return f"{protocol}://{place}"


def store_of(cache: Path) -> Store | None:
    """The store whose folders a cache has copies of."""
    return Store(where(cache)) if cache.is_relative_to(copies()) else None


def available(cache: Path, folder: Path) -> Path:
    """A committed folder of the cache that perhaps another machine has made. Raises DataError when it is not to be found."""
    if folder.is_dir():
        return folder
    store = store_of(cache)
    if store is None:
        wanted = "set FTHETA_HOME to a folder that all machines share, or to an address such as s3://bucket/name"
        raise DataError(f"{folder} was made by another machine and is not here: {wanted}")
    with lock(folder.with_name(f".{folder.name}-lock"), waiting_for(folder)):
        if not folder.is_dir() and not store.fetch(name := folder.relative_to(cache).as_posix(), folder):
            raise DataError(f"{store.url}/{name} is not there any more: run the same command again")
    return folder


def waiting_for(folder: Path) -> Callable[[str], None]:
    """Says which process is making a stage's folder."""
    return lambda owner: logger.info("%s: waiting for process %s, which is making it ...", folder.parent.name, owner)


def offer(cache: Path, folder: Path) -> None:
    """See to it that other machines find a folder of the cache."""
    store = store_of(cache)
    if store is not None and not store.has(name := folder.relative_to(cache).as_posix()):
        store.publish(folder, name)


def undamaged(make: Callable[[], T]) -> T:
    """What `make` gives, once more for every cached folder that turns out to be damaged while it is read, and is taken away."""
    for _ in range(TRIES):
        try:
            return make()
        except DamagedError as error:                                                     # the folder is gone, so this comes to an end
            logger.warning("%s", error)
    return make()


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
    Two processes that want it at once: one builds under a lock, the other waits and finds it. On two machines that share a store both build, and the first
    to finish counts. Raises FolderError when there is something to build and the cache cannot be written.
    """
    folder = place_of(cache, name, key)
    address = folder.name
    if folder.is_dir() and not verify(folder, thorough):
        return folder
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock(cache / name / f".{address}-lock", waiting_for(folder)))
        except OSError as error:
            raise FolderError(f"the cache {cache} cannot be written ({error.strerror}): set FTHETA_HOME to a folder that can") from None
        if folder.is_dir():
            if not (found := verify(folder, thorough)):
                return folder
            logger.warning("%s: cached data is damaged and is built again (%s)", name, found[0])
        clear_attempts(cache / name, address)                                             # other addresses may be being built right now

        def make(place: Path) -> None:
            with commit(place, {"stage": name, "key": dict(key)}, replace=True) as attempt:
                build(attempt)

        if (store := store_of(cache)) is None:
            make(folder)
        else:
            share(store, f"{name}/{address}", folder, make)
    return folder


def share(store: Store, name: str, folder: Path, make: Callable[[Path], None]) -> None:
    """Fetch a folder from the store, or make it and give it to the store. It has its place here once the store has it, too."""
    if store.fetch(name, folder):
        return
    made = folder.with_name(f".{folder.name}-made")
    if verify(made):                                                                      # unless this is as far as an attempt came that was killed
        make(made)
    if store.publish(made, name):
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(made, folder)
        sync_folder(folder.parent)
        return
    shutil.rmtree(made)
    if not store.fetch(name, folder):
        raise DataError(f"{store.url}/{name} was changed in the store just after it was written: run the same command again")


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
