"""Children to kill and the tiny recipes they train."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny
from faults.children import Zygote, left_behind

MEMORY = Path("/dev/shm")
"""A folder that needs no disk: being killed loses nothing that was written, so these tests need none."""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ftheta-test-", dir=MEMORY if MEMORY.is_dir() else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    started = Zygote(tmp_path_factory.mktemp("zygote"))
    yield started
    started.process.kill()
    started.process.wait()


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="session")
def recipe(texts: Path) -> Callable[[str], dict[str, Any]]:
    """A fresh copy of the tiny recipe of a family."""
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "language": lambda: tiny.language(texts), "mixture": lambda: tiny.mixture(texts), "gan": tiny.gan, "policy": tiny.policy, "images": tiny.images,
    }
    return lambda family: makers[family]()


@pytest.fixture(scope="session")
def golden(zygote: Zygote, recipe: Callable[[str], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What an uninterrupted run of a family leaves behind."""
    known: dict[str, dict[str, Any]] = {}

    def of(family: str) -> dict[str, Any]:
        if family not in known:
            out = tmp_path_factory.mktemp(f"golden-{family}") / "run"
            assert zygote.run(recipe(family), out) == 0, zygote.said()
            known[family] = left_behind(out)
        return known[family]

    return of
