"""Named data sets: found in a local mirror folder (`FTHETA_MIRROR`) or in the cache, checked by SHA-256, else fetched from their
public address.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from importlib import resources
from pathlib import Path

from ruamel.yaml import YAML

from ftheta.core.atomic import write_file
from ftheta.core.errors import DataError, suggest
from ftheta.data.stages import home

NAMED = "dataset:"


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


def place(path: str) -> Path:
    """A path as a recipe says it: `dataset:NAME/...` is in the folder of a named data set. Raises DataError when that cannot be had."""
    if not path.startswith(NAMED):
        return Path(path).expanduser()
    name, _, rest = path.removeprefix(NAMED).partition("/")
    return locate(name) / rest


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
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    write_file(folder / file, data)
