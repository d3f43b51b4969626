"""The file-commit protocol: an artefact is whole and verified, or it is not there.

A folder is written under a temporary name unique to the attempt, every file is hashed while it is written and synced, then
MANIFEST.json lists them, one rename puts the folder in place and the parent is synced. A reader that finds the folder finds
all of it; a flipped byte is found by `verify`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import xxhash

from ftheta.core.errors import FolderError

MANIFEST = "MANIFEST.json"
TEMPORARY = ".tmp-"
ASIDE = ".old-"
"""What is being replaced waits under this name until the new folder is in place."""
SEAL = "xxh3_128"
"""The manifest's field that holds the hash of the rest of it."""
CHUNK = 1 << 22


def file_name(title: str) -> str:
    """A title as the name of a file on any system: letters (with their marks) and digits of every script and `, . @ + - _` stay, the rest is `_`."""
    return "".join(sign if unicodedata.category(sign)[0] in "LMN" or sign in ",.@+-_" else "_" for sign in title)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """os.write until everything is written (a write may be short)."""
    view = memoryview(data).cast("B")
    while view:
        written = os.write(descriptor, view)
        if not written:
            raise OSError(errno.EIO, "nothing could be written")
        view = view[written:]


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Replace one file, given whole or in pieces, atomically: temporary file, sync, rename, sync of the folder."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            for piece in [data] if isinstance(data, bytes) else data:
                write_all(descriptor, piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    write_file(path, encode_json(value))


def encode_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


class Attempt:
    """A folder being written. Everything goes through here, so that the manifest is made from what was really written."""

    def __init__(self, path: Path):
        self.path = path
        self.files: dict[str, dict[str, Any]] = {}

    def write(self, name: str, *pieces: bytes | memoryview) -> None:
        """Write one file from its pieces, hashing on the way, and sync it."""
        place = self.path / name
        if place.parent != self.path:
            place.parent.mkdir(parents=True, exist_ok=True)
        digest, size = xxhash.xxh3_128(), 0
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            for piece in pieces:
                view = memoryview(piece).cast("B")
                for start in range(0, len(view), CHUNK):
                    part = view[start : start + CHUNK]
                    digest.update(part)
                    write_all(descriptor, part)
                size += len(view)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.files[name] = {"bytes": size, "xxh3_128": digest.hexdigest()}

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, encode_json(value))

    def write_text(self, name: str, text: str) -> None:
        self.write(name, text.encode())

    def adopt(self, name: str) -> None:
        """Take in a file that a library wrote into the folder by itself: sync it and hash what is there."""
        place = self.path / name
        descriptor = os.open(place, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.files[name] = {"bytes": place.stat().st_size, "xxh3_128": digest_file(place)}

    def seal(self, facts: Mapping[str, Any] | None = None) -> None:
        """Write the manifest of what is there, so that the folder can be read as it will be; `commit` does it in the end."""
        files = {name: entry for name, entry in sorted(self.files.items()) if name != MANIFEST}
        self.write(MANIFEST, sealed({"format": 1, **(facts or {}), "files": files}))


@contextlib.contextmanager
def commit(final: Path, facts: Mapping[str, Any] | None = None, *, replace: bool = False) -> Iterator[Attempt]:
    """Write a folder and put it in place with one rename; on any error nothing is left behind.

    `facts` go into the manifest beside the file table. An existing `final` is an error unless `replace`.
    """
    if final.exists() and not replace:
        raise FolderError(f"{final} already exists")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f"{TEMPORARY}{final.name}-{os.getpid()}-{secrets.token_hex(4)}"
    os.mkdir(temporary)
    try:
        attempt = Attempt(temporary)
        yield attempt
        attempt.seal(facts)
        for folder in sorted({(temporary / name).parent for name in attempt.files}, reverse=True):
            sync_folder(folder)
        aside = final.parent / f"{ASIDE}{final.name}-{secrets.token_hex(4)}"
        if final.exists():
            os.rename(final, aside)
        try:
            os.rename(temporary, final)
        except BaseException:
            if aside.exists():
                os.rename(aside, final)
            raise
        sync_folder(final.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def clear_attempts(parent: Path, name: str = "") -> list[str]:
    """Remove what dead attempts left in a folder (call it holding the folder's lock); their names.

    `name` limits this to attempts at one entry. What was being replaced when the process died is put back.
    """
    entries = sorted(parent.iterdir()) if parent.is_dir() else []
    dead = [entry for entry in entries if entry.name.startswith((TEMPORARY, ASIDE)) and name in entry.name]
    for entry in dead:
        final = parent / entry.name.removeprefix(ASIDE).rpartition("-")[0]
        if entry.name.startswith(ASIDE) and not final.exists():
            os.rename(entry, final)
        elif entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    return [entry.name for entry in dead]


def sealed(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of MANIFEST.json: with its own hash as the last field, so that a change of the manifest itself is found too."""
    return encode_json({**manifest, SEAL: xxhash.xxh3_128_hexdigest(encode_json(manifest))})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a committed folder. Raises FolderError when it is missing or is not one."""
    place = folder / MANIFEST
    try:
        return parse_manifest(place.read_bytes(), place)
    except FileNotFoundError:
        raise FolderError(f"{place} is missing: the folder was not written by ftheta, or not completely") from None
    except OSError as error:
        raise FolderError(f"{place} cannot be read: {error.strerror}") from None


def parse_manifest(data: bytes, place: str | Path) -> dict[str, Any]:
    """What `sealed` made bytes of. Raises FolderError for anything else, and for a file outside the folder."""
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{place} is damaged: {error}") from None
    if not (isinstance(manifest, dict) and isinstance(manifest.get("files"), dict)):
        raise FolderError(f"{place} holds no file table: it is damaged or foreign")
    if manifest.pop(SEAL, None) is None or sealed(manifest) != data:
        raise FolderError(f"{place} was changed after it was written (checksum differs)")
    for name in manifest["files"]:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise FolderError(f"{place} lists a file outside the folder: {name!r}")
    return manifest


def digest_file(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def verify(folder: Path, thorough: bool = True) -> list[str]:
    """Every difference between a committed folder and its manifest, in words; empty when it is whole. Without `thorough` sizes are compared, not contents."""
    try:
        files = read_manifest(folder)["files"]
    except FolderError as error:
        return [str(error)]
    found: list[str] = []
    for name, entry in files.items():
        place = folder / name
        if not place.is_file():
            found.append(f"{place} is missing")
        elif reason := changed(place, entry, thorough):
            found.append(f"{place} {reason}")
    return found


def changed(place: Path, entry: Mapping[str, Any], thorough: bool = True) -> str:
    """How a file differs from its entry in the file table, in words; empty when it does not."""
    try:
        size = place.stat().st_size
        if size != entry["bytes"]:
            return f"has {size:,} bytes; {entry['bytes']:,} were written"
        return "" if not thorough or digest_file(place) == entry["xxh3_128"] else "was changed after it was written (checksum differs)"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


@contextlib.contextmanager
def lock(folder: Path, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a folder for writing. When another process holds it, `waiting` is told which and it is waited for; without, FolderError.

    Raises OSError when nothing can be written into the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "unknown"
            if waiting is None:
                raise FolderError(f"{folder} is being written by another process (pid {owner}); wait for it, or choose another --out") from None
            waiting(owner)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        probe = folder / f"{TEMPORARY}probe"
        probe.unlink(missing_ok=True)                                                     # of a process that was killed just here
        try:
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))         # the lock's file may be writable where the folder is not
        finally:
            probe.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def holder(folder: Path) -> int | None:
    """The process that holds a folder's lock; None where nobody does. What a process that is gone left behind is read, not tried."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        owner = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
        if not owner.isdecimal() or not living(int(owner)):
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return int(owner)
        return None
    finally:
        os.close(descriptor)


def living(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
