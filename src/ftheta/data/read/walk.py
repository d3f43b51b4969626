"""Which files there are: folders, files, patterns, named data sets and addresses of stores, as a list of files in a fixed order."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ftheta.core.errors import DataError
from ftheta.core.log import logger
from ftheta.data.catalogue import NAMED, locate, place_of
from ftheta.data.read.stores import answering, filesystem, is_url, spelled

STDLIB = "python:stdlib"
NOT_SOURCE = ("test/**", "**/test/**", "**/tests/**", "**/idle_test/**", "idlelib/**", "lib2to3/**", "site-packages/**", "**/__pycache__/**")
"""Tests, vendored packages and caches, left out of `python:stdlib`."""
ARCHIVES = (".zip", ".tar", ".tgz", ".txz", ".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2")


class File(NamedTuple):
    """A stored file, or the lines of it that begin in a range of bytes; plain data, so that it can be sent to another process."""

    path: str
    name: str
    """What its documents' names begin with: its place below the path that was asked for."""
    size: int
    """Bytes of it, or of the range."""
    start: int = 0
    end: int | None = None


Found = Iterator[tuple[str, str, int]]
"""Path, name, size."""


def walk(paths: Sequence[str], include: tuple[str, ...], exclude: tuple[str, ...]) -> list[File]:
    """Every file of some paths, each once, in a fixed order. Raises DataError for a path where there is nothing."""
    if len(paths) == 1:
        return [File(*found) for found in below(paths[0], include, exclude)]
    files: dict[str, File] = {}
    for path in paths:
        for place, name, size in below(path, include, exclude):
            files.setdefault(place if is_url(place) else os.path.realpath(place), File(place, prefixed(path, name), size))
    return list(files.values())


def prefixed(path: str, name: str) -> str:
    """The name of a file that stands beside those of other paths: the path as it was written is part of it."""
    fixed = top_of(path)
    whole = fixed if fixed.endswith(f"/{name}") or fixed == name else f"{fixed.rstrip('/')}/{name}"
    return whole.lstrip("/")


def top_of(path: str) -> str:
    """The part of a pattern above the first folder that is a pattern."""
    while glob.has_magic(path):
        path = os.path.dirname(path)
    return path


def below(path: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> Found:
    """The files of one path."""
    if path == STDLIB:
        exclude += NOT_SOURCE

    def takes(name: str) -> bool:
        # archives are looked into whatever `include` says of their own name: it is about what is in them
        return (matches(name, include) or name.lower().endswith(ARCHIVES)) and not matches(name, exclude)

    if path == STDLIB:
        found = folder(sysconfig.get_paths()["stdlib"], takes)
    elif is_url(path):
        found = stored(path)
    else:
        root = str(named(path) if path.startswith(NAMED) else Path(path).expanduser())
        if os.path.isfile(root):
            yield root, os.path.basename(root), os.path.getsize(root)
            return
        if os.path.isdir(root):
            found = folder(root, takes)
        elif glob.has_magic(root):
            found = matching(root)
        else:
            raise DataError(f"data.source.path: {root} does not exist")
    taken = [one for one in found if takes(one[1])]
    yield from taken
    if not taken:
        raise DataError(f"data.source: no file below {path} matches {list(include)}" + (f" and none of {list(exclude)}" if exclude else ""))


def named(path: str) -> Path:
    """The file of a named data set, or the folder of all of it."""
    return place_of(path) if "/" in path else locate(path.removeprefix(NAMED))


def folder(root: str, takes: Callable[[str], bool]) -> Found:
    """Regular files below a folder that are wanted; links to folders are not followed, so none leads in a circle."""
    places: list[tuple[str, ...]] = []
    links = 0

    def refuse(error: OSError) -> None:
        # what lies below would be missing from the data, and from every count
        raise DataError(f"data.source.path: the folder {error.filename} cannot be looked into ({error.strerror}): allow reading it, or name those beside it")

    for top, folders, files in os.walk(root, onerror=refuse):
        links += sum(os.path.islink(os.path.join(top, name)) for name in folders)
        inner = os.path.relpath(top, root)
        places += [(*([] if inner == "." else inner.split(os.sep)), name) for name in files]
    if links:
        logger.warning("data.source: %d links to folders below %s are not followed", links, root)
    for parts in sorted(places):
        place = os.path.join(root, *parts)
        if takes(name := spelled("/".join(parts))) and (size := size_of(place)) is not None:
            yield spelled(place), name, size


def size_of(place: str) -> int | None:
    """None for what is no file: a pipe, a device. A link that leads nowhere has a size: that it cannot be read is then said by name."""
    try:
        found = os.stat(place)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def matching(pattern: str) -> Found:
    """Files that a pattern stands for."""
    top = top_of(pattern)
    places = [place for place in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(place)]
    if not places:
        raise DataError(f"data.source.path: nothing matches {pattern}")
    for place in places:
        yield spelled(place), spelled(os.path.relpath(place, top or ".")).replace(os.sep, "/"), os.path.getsize(place)


def stored(url: str) -> Found:
    """Files of a store: one, those below a folder, or those that a pattern stands for."""
    store, place = filesystem(url)
    with answering(url):
        if "*" in place:
            places, top = store.glob(place, detail=True), top_of(place)
        elif url.endswith("/") or store.info(place)["type"] == "directory":
            top = place.rstrip("/")
            place = place if store.protocol == "http" else top
            places = store.find(place, detail=True)
            if not places:                                                                # which it also gives of a server that does not answer
                store.ls(place, detail=False)
        else:
            yield url, place.rsplit("/", 1)[-1], store.info(place).get("size") or 0
            return
    for one, info in sorted(places.items()):
        if info["type"] == "file":
            yield store.unstrip_protocol(one), one.removeprefix(top).lstrip("/"), info.get("size") or 0


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """`**/` also matches no folder at all, as in shells."""
    return any(fnmatch.fnmatchcase(name, p) or (p.startswith("**/") and fnmatch.fnmatchcase(name, p[3:])) for p in patterns)
