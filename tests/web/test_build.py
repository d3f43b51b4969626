"""The page that is shipped is that of the sources: the build says which sources and which bytes it is of, so that no node is needed to know."""

import hashlib
import json
from pathlib import Path

import ftheta

ROOT = Path(__file__).parents[2]
PAGE, BUILT = ROOT / "page", Path(ftheta.__file__).parent / "web" / "page"
SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.js", "public", "src")
STAMP = json.loads((BUILT / "stamp.json").read_bytes())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_it_was_built_from_these_sources():
    files = [file for name in SOURCES for file in ([PAGE / name] if (PAGE / name).is_file() else (PAGE / name).rglob("*")) if file.is_file()]
    found = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.relative_to(PAGE).as_posix()):
        found.update(f"{file.relative_to(PAGE).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    assert found.hexdigest() == STAMP["sources"], "page/ was changed: run `make page`"


def test_it_is_as_it_was_built():
    assert {file.name: digest(file.read_bytes()) for file in BUILT.iterdir() if file.name != "stamp.json"} == STAMP["files"]


def test_it_is_small_and_asks_nobody_else():
    assert sum(file.stat().st_size for file in BUILT.iterdir()) < 200_000
    for name in ("index.html", "page.css"):
        assert "http:" not in (BUILT / name).read_text() and "https:" not in (BUILT / name).read_text()
    assert "<script>" not in (BUILT / "index.html").read_text() and "style=" not in (BUILT / "index.html").read_text()
    assert all(name in (BUILT / "licences.txt").read_text() for name in ("preact", "uplot", "MIT License", "Leon Sorokin", "Jason Miller"))
