"""A store of committed folders that several machines share: S3, or whatever else fsspec reaches, where nothing can be renamed.

    <address>/MANIFEST.json          written last: the file table, and which attempt's files are meant
    <address>/<attempt>/<file>       the files, each attempt below a name of its own

A folder is there if its manifest is. Who finishes second finds the manifest written (where the store can refuse to write what exists) and leaves it; where the
store cannot, the later manifest stands, and both name files that are whole. Every file is checked against the table when it is fetched.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from ftheta.core.atomic import MANIFEST, Attempt, commit, parse_manifest, read_manifest, sealed
from ftheta.core.errors import DataError, FolderError, FthetaError
from ftheta.core.log import logger
from ftheta.data.read.stores import filesystem

TRIES = 2
"""How often a file is fetched before it is taken for damaged."""
DEAD = timedelta(days=1)
"""After what time an attempt that nobody named is taken for dead; by the store's clock, which no other machine's needs to agree with."""


class Store:
    """Committed folders by name below an address. Every method raises DataError when the store cannot be reached or refuses."""

    def __init__(self, url: str):
        self.url = url

    def files(self, name: str) -> tuple[Any, str]:
        """The file system, with nothing remembered of what others may have changed, and the place of a folder."""
        files, place = filesystem(self.url, "FTHETA_HOME")
        return files, f"{place}/{name}"

    def has(self, name: str) -> bool:
        """Whether the folder is there. What its files hold is checked when they are fetched."""
        with self.answering(name):
            files, place = self.files(name)
            return files.exists(f"{place}/{MANIFEST}")

    def manifest(self, name: str) -> dict[str, Any] | None:
        """The manifest of a folder; None when there is none that is whole."""
        with self.answering(name):
            files, place = self.files(name)
            try:
                return parse_manifest(files.cat_file(f"{place}/{MANIFEST}"), f"{self.url}/{name}/{MANIFEST}")
            except FileNotFoundError:
                return None
            except FolderError as error:
                logger.warning("%s", error)
                return None

    def fetch(self, name: str, folder: Path) -> bool:
        """Copy a folder from the store into its place here; False when it is not there, or damaged, which is said and removes its manifest."""
        manifest = self.manifest(name)
        if manifest is None:
            return False
        facts = {field: value for field, value in manifest.items() if field not in ("format", "attempt", "files")}
        with self.answering(name):
            files, place = self.files(name)
            try:
                with commit(folder, facts, replace=True) as attempt:
                    for file, entry in manifest["files"].items():
                        self.copy(files, f"{place}/{manifest['attempt']}/{file}", attempt, file, entry)
            except FolderError as error:
                logger.warning("%s: it is made again", error)
                if self.manifest(name) == manifest:
                    files.rm_file(f"{place}/{MANIFEST}")
                return False
        return True

    def copy(self, files: Any, place: str, attempt: Attempt, file: str, entry: dict[str, Any]) -> None:
        """Fetch one file. Raises FolderError when it is not what the manifest says."""
        local = attempt.path / file
        local.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(TRIES):
            try:
                files.get_file(place, str(local))
            except FileNotFoundError:
                raise FolderError(f"{place} is missing in the store") from None
            attempt.adopt(file)
            if attempt.files[file] == entry:
                return
        raise FolderError(f"{place} was changed in the store after it was written (checksum differs)")

    def publish(self, folder: Path, name: str) -> bool:
        """Write a committed folder into the store. False when another machine was first and its files differ: they are what all use."""
        manifest, attempt = read_manifest(folder), secrets.token_hex(8)
        with self.answering(name):
            files, place = self.files(name)
            for file in manifest["files"]:
                files.put_file(str(folder / file), f"{place}/{attempt}/{file}")
            data = sealed({**manifest, "attempt": attempt})
            first = self.claim(name, data)
            standing = None if first else self.manifest(name)
            if standing is None and not first:                                            # what stands there is damaged, or was removed as such
                files.pipe_file(f"{place}/{MANIFEST}", data)
            self.clear(name, attempt, standing)
        if standing is None or standing["files"] == manifest["files"]:
            return True
        logger.warning("%s: another machine has made %s with other bytes; its files are used", self.url, name)
        return False

    def claim(self, name: str, manifest: bytes) -> bool:
        """Write the manifest if there is none; whether it was written."""
        files, place = self.files(name)
        try:
            files.pipe_file(f"{place}/{MANIFEST}", manifest, mode="create")
            return True
        except (OSError, NotImplementedError) as error:
            if files.exists(f"{place}/{MANIFEST}"):
                return False
            if isinstance(error, PermissionError):
                raise
            files.pipe_file(f"{place}/{MANIFEST}", manifest)                              # the store knows no such condition
            return True

    def clear(self, name: str, mine: str, standing: dict[str, Any] | None) -> None:
        """Remove what nobody refers to: this attempt if another stands, and others once they are old."""
        files, place = self.files(name)
        now = files.modified(f"{place}/{MANIFEST}") if standing is None else None
        kept = mine if standing is None else standing["attempt"]
        attempts: dict[str, list[str]] = {}
        for file in files.find(place):
            attempt, slash, _ = file[len(place) + 1 :].partition("/")
            if slash and attempt != kept:
                attempts.setdefault(attempt, []).append(file)
        for attempt, theirs in attempts.items():
            if attempt == mine or (now is not None and now - max(files.modified(file) for file in theirs) > DEAD):
                for file in theirs:
                    files.rm_file(file)

    @contextlib.contextmanager
    def answering(self, name: str) -> Iterator[None]:
        """Turns what the store's library raises into a DataError that names the place."""
        try:
            yield
        except FthetaError:
            raise
        except Exception as error:                                                        # every library has errors of its own
            said = str(error).strip() or type(error).__name__
            raise DataError(f"FTHETA_HOME: {self.url}/{name}: {said}; what is finished stays, run the same command again") from error
