"""The file-commit protocol: an artefact is whole and verified, or it is not there.

A folder is written under a temporary name unique to the attempt, every file is hashed while it is written and synced, then
MANIFEST.json lists them, one rename puts the folder in place and the parent is synced. A reader that finds the folder finds
all of it; a flipped byte is found by `verify`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xxhash

from ftheta.core.errors import FolderError

MANIFEST = "MANIFEST.json"
TEMPORARY = ".tmp-"
CHUNK = 1 << 22


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """os.write until everything is written (a write may be short)."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Replace one file atomically: temporary file, sync, rename, sync of the folder."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            write_all(descriptor, data)
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
        """Take in a file that a library wrote into the folder by itself."""
        data = (self.path / name).read_bytes()
        self.write(name, data)


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
        files = dict(sorted(attempt.files.items()))
        attempt.write(MANIFEST, encode_json({"format": 1, **(facts or {}), "files": files}))
        sync_folder(temporary)
        if final.exists():
            aside = final.parent / f"{TEMPORARY}old-{final.name}-{secrets.token_hex(4)}"
            os.rename(final, aside)
            os.rename(temporary, final)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(temporary, final)
        sync_folder(final.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def clear_attempts(parent: Path) -> list[str]:
    """Remove what dead attempts left in a folder (call it holding the folder's lock); their names."""
    dead = [entry for entry in parent.glob(f"{TEMPORARY}*")] if parent.is_dir() else []
    for entry in dead:
        shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
    return [entry.name for entry in dead]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a committed folder. Raises FolderError when it is missing or is not one."""
    place = folder / MANIFEST
    try:
        manifest = json.loads(place.read_bytes())
    except FileNotFoundError:
        raise FolderError(f"{place} is missing: the folder was not written by ftheta, or not completely") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise FolderError(f"{place} is damaged: {error}") from None
    if not (isinstance(manifest, dict) and isinstance(manifest.get("files"), dict)):
        raise FolderError(f"{place} holds no file table: it is damaged or foreign")
    return manifest


def digest_file(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def verify(folder: Path) -> list[str]:
    """Every difference between a committed folder and its manifest, in words; empty when it is whole."""
    try:
        files = read_manifest(folder)["files"]
    except FolderError as error:
        return [str(error)]
    found: list[str] = []
    for name, entry in files.items():
        place = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            found.append(f"{folder / MANIFEST} lists a file outside the folder: {name!r}")
        elif not place.is_file():
            found.append(f"{place} is missing")
        elif place.stat().st_size != entry["bytes"]:
            found.append(f"{place} has {place.stat().st_size:,} bytes; {entry['bytes']:,} were written")
        elif digest_file(place) != entry["xxh3_128"]:
            found.append(f"{place} was changed after it was written (checksum differs)")
    return found


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a folder for writing. Raises FolderError when another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "unknown"
            raise FolderError(f"{folder} is being written by another process (pid {owner}); wait for it, or choose another --out") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
