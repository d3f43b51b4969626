"""Named data sets: found in a local mirror folder (`FTHETA_MIRROR`) or in the cache, checked by SHA-256, else fetched from their
public address. A recipe names a file of one as `data:NAME/FILE`, and a file in a .zip by what it is called in there: `ARCHIVE.zip/FILE`.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
import zipfile
from importlib import resources
from pathlib import Path

from ruamel.yaml import YAML

from ftheta.core.atomic import Attempt, write_file
from ftheta.core.errors import DataError, suggest
from ftheta.data.stages import digest, home, stage

NAMED = "data:"
"""What a path of a named data set begins with."""


def entries() -> dict[str, dict]:
    """Data set name → {licence, source, files: {name: {sha256: [accepted, ...], url?}}}, from `catalogue.yaml`."""
    text = resources.files("ftheta.data").joinpath("catalogue.yaml").read_text()
    return YAML(typ="safe", pure=True).load(text)


def locate(name: str) -> Path:
    """The folder that holds a data set's files, every file checked. Raises DataError saying what to do when it cannot be had."""
    known = entries()
    if name not in known:
        raise DataError(f"no data set called '{name}'{suggest(name, known, 'data sets')}")
    folders = [Path(os.environ["FTHETA_MIRROR"]) / name] if os.environ.get("FTHETA_MIRROR") else []
    cached = home() / "datasets" / name
    for folder in (*folders, cached):
        if folder.is_dir():
            for file, entry in known[name]["files"].items():
                check(folder / file, entry["sha256"])
            return folder
    for file, entry in known[name]["files"].items():
        fetch(name, file, entry, cached)
    return cached


def place_of(path: str) -> Path:
    """The file that a recipe's path means; one inside a .zip is unpacked into the cache. Raises DataError for what is not there."""
    found = Path(path).expanduser()
    if path.startswith(NAMED):
        name, _, file = path.removeprefix(NAMED).partition("/")
        folder, known = locate(name), entries()[name]["files"]
        if not any(file == one or file.startswith(f"{one}/") for one in known):
            raise DataError(f"data set '{name}' holds no file '{file}'{suggest(file, known, 'files')}")
        found = folder / file
    archive = next((parent for parent in found.parents if parent.suffix == ".zip" and parent.is_file()), None)
    return found if archive is None else unpacked(archive, found.relative_to(archive).as_posix())


def unpacked(archive: Path, member: str) -> Path:
    """A file of an archive, written out once. Raises DataError for an archive that is damaged or does not hold it."""
    data = archive.read_bytes()

    def write(attempt: Attempt) -> None:
        try:
            with zipfile.ZipFile(archive) as opened:
                if member not in opened.namelist():
                    raise DataError(f"{archive} holds no file '{member}'{suggest(member, opened.namelist(), 'files')}")
                attempt.write(Path(member).name, opened.read(member))
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{archive} cannot be read: {error}") from None

    return stage(home() / "stages", "unpacked", {"archive": digest(data), "file": member}, write) / Path(member).name


def check(path: Path, accepted: list[str]) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing: the copy of this data set is incomplete")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found not in accepted:
        raise DataError(f"{path} is not the published file: SHA-256 {found[:12]}..., expected {accepted[0][:12]}...; delete it and fetch it again")


def fetch(name: str, file: str, entry: dict, folder: Path) -> None:
    """Download one file into the cache; nothing is kept unless its checksum is right."""
    if "url" not in entry:
        raise DataError(f"data set '{name}' has no public address for {file}: set FTHETA_MIRROR to a folder that holds {name}/{file}")
    try:
        with urllib.request.urlopen(entry["url"], timeout=60) as response:
            data = response.read()
    except (urllib.error.URLError, OSError) as error:
        raise DataError(f"data set '{name}': {entry['url']} cannot be reached ({error}); set FTHETA_MIRROR to a folder that holds {name}/{file}") from None
    if hashlib.sha256(data).hexdigest() not in entry["sha256"]:
        raise DataError(f"{entry['url']} did not give the published {file} (checksum differs)")
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / file, data)
