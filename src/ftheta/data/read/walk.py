"""Which files there are: folders, files, patterns and named data sets as a list of files in a fixed order."""

from __future__ import annotations

import fnmatch
import glob
import os
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ftheta.core.errors import DataError
from ftheta.data.catalogue import NAMED, place_of

STDLIB = "python:stdlib"
NOT_SOURCE = ("test/**", "**/test/**", "**/tests/**", "**/idle_test/**", "idlelib/**", "lib2to3/**", "site-packages/**", "**/__pycache__/**")
"""Tests, vendored packages and caches, left out of `python:stdlib`."""


class File(NamedTuple):
    """A stored file, or the lines of it that begin in a range of bytes; plain data, so that it can be sent to another process."""

    path: str
    name: str
    """What its documents' names begin with: its place below the path that was asked for."""
    size: int
    start: int = 0
    end: int | None = None


def walk(paths: Sequence[str], include: tuple[str, ...], exclude: tuple[str, ...]) -> list[File]:
    """Every file of some paths, each once, in a fixed order. Raises DataError for a path where there is nothing."""
    found: dict[str, File] = {}
    for path in paths:
        for place, name in below(path, include, exclude):
            found.setdefault(os.path.realpath(place), File(str(place), name if len(paths) == 1 else prefixed(path, name), place.stat().st_size))
    return list(found.values())


def prefixed(path: str, name: str) -> str:
    """The name of a file that stands beside those of other paths: the path as it was written is part of it."""
    fixed = path
    while glob.has_magic(fixed):
        fixed = os.path.dirname(fixed)
    whole = fixed if fixed.endswith(f"/{name}") or fixed == name else f"{fixed.rstrip('/')}/{name}"
    return whole.lstrip("/")


def below(path: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """The files of one path and their names."""
    if path == STDLIB:
        yield from folder(Path(sysconfig.get_paths()["stdlib"]), include, exclude + NOT_SOURCE)
        return
    root = place_of(path) if path.startswith(NAMED) else Path(path).expanduser()
    if glob.has_magic(str(root)) and not root.exists():
        top = root
        while glob.has_magic(str(top)):
            top = top.parent
        files = [Path(file) for file in sorted(glob.glob(str(root), recursive=True)) if Path(file).is_file()]
        if not files:
            raise DataError(f"data.source.path: nothing matches {root}")
        for file in files:
            name = file.relative_to(top).as_posix()
            if wanted(name, include, exclude):
                yield file, name
    elif root.is_file():
        yield root, root.name
    elif root.is_dir():
        yield from folder(root, include, exclude)
    else:
        raise DataError(f"data.source.path: {root} does not exist")


def folder(root: Path, include: tuple[str, ...], exclude: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    count = 0
    for place in sorted(root.rglob("*")):
        name = place.relative_to(root).as_posix()
        if wanted(name, include, exclude) and place.is_file():
            count += 1
            yield place, name
    if not count:
        raise DataError(f"data.source: no file below {root} matches {list(include)}")


ARCHIVES = ("*.zip", "*.tar", "*.tar.*", "*.tgz", "*.txz")


def wanted(name: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    """Archives are looked into whatever `include` says of their own name: it is about what is in them."""
    archive = any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in ARCHIVES)
    return (archive or matches(name, include)) and not matches(name, exclude)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """`**/` also matches no folder at all, as in shells."""
    return any(fnmatch.fnmatchcase(name, p) or (p.startswith("**/") and fnmatch.fnmatchcase(name, p[3:])) for p in patterns)
