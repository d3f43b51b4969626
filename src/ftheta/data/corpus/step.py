"""A step: one unit of work on shards, a pure function of its own fields and of the folders it reads. As plain JSON it goes to any process."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ftheta.core.atomic import Attempt, verify
from ftheta.core.catalog import Catalogue
from ftheta.core.config import Config, Slot
from ftheta.core.errors import DataError, FthetaError
from ftheta.data.stages import available, cache_at, place_of, stage, where

STEPS = Catalogue(
    "step",
    {
        "assign": "ftheta.data.corpus.dividing:Assign",
        "clean": "ftheta.data.corpus.cleaning:Clean",
        "compare": "ftheta.data.corpus.comparing:Compare",
        "deduplicate": "ftheta.data.corpus.comparing:Deduplicate",
        "decode": "ftheta.data.pictures.decoding:Decode",
        "divide": "ftheta.data.corpus.dividing:Divide",
        "fit": "ftheta.data.corpus.packing:Fit",
        "keys": "ftheta.data.corpus.dividing:Keys",
        "read": "ftheta.data.corpus.reading:Read",
        "sample": "ftheta.data.corpus.tokenizing:Sample",
        "signatures": "ftheta.data.corpus.comparing:Signatures",
        "tokens": "ftheta.data.corpus.tokenizing:Tokens",
    },
)
OURS = version("ftheta")
"""Of another version the same order may have other results."""


class Step(Config, ABC):
    """What is done; `kind` is its name in the catalogue."""

    @abstractmethod
    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        """Write the result into the attempt's folder. Raises DataError naming what cannot be used."""

    def key(self) -> Mapping[str, Any]:
        """What decides the result beside the inputs."""
        return self.dump()


def named(step: Step, inputs: Sequence[Path]) -> tuple[str, dict[str, Any]]:
    """The stage and the key of a step. An input is a folder of the same cache, so that its address says what it holds."""
    return str(getattr(step, "kind")), {"step": step.key(), "inputs": [f"{place.parent.name}/{place.name}" for place in inputs]}  # noqa: B009


def found(step: Step, inputs: Sequence[Path], cache: Path) -> Path | None:
    """The committed folder of a step if it is there, by the sizes of its files; what they hold is verified when they are read."""
    folder = place_of(cache, *named(step, inputs))
    return folder if folder.is_dir() and not verify(folder, thorough=False) else None


def perform(step: Step, inputs: Sequence[Path], cache: Path) -> Path:
    """The committed folder of a step, found or built."""
    return stage(cache, *named(step, inputs), lambda attempt: step.build(attempt, [available(cache, place) for place in inputs]), thorough=False)


def order_of(step: Step, inputs: Sequence[Path], cache: Path) -> dict[str, Any]:
    """What a process needs to be told to perform a step, as plain data: folders are named within the cache, which may lie elsewhere for another machine."""
    return {"version": OURS, "step": step.dump(), "inputs": [place.relative_to(cache).as_posix() for place in inputs], "cache": where(cache)}


def answer(order: Mapping[str, Any]) -> dict[str, str]:
    """Perform what `order_of` says: the folder within the cache, or what is wrong, as plain data."""
    try:
        if order["version"] != OURS:
            raise DataError(f"{platform.node()} has ftheta {OURS} and is to work for {order['version']}: install the same version everywhere")
        step, cache = Slot(STEPS).parse(order["step"]), cache_at(order["cache"])
        assert isinstance(step, Step)
        return {"folder": perform(step, [cache / place for place in order["inputs"]], cache).relative_to(cache).as_posix()}
    except FthetaError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except OSError as error:
        return {"error": DataError.__name__, "message": f"{error.filename or 'a folder'}: {error.strerror}; what is finished stays, run the same command again"}


def outcome(answer: Mapping[str, str], cache: Path) -> Path:
    """The folder that an answer names. Raises the FthetaError that it tells of."""
    if "error" not in answer:
        return cache / answer["folder"]
    kind = {error.__name__: error for error in family(FthetaError)}.get(answer["error"], DataError)
    raise kind.__new__(kind, answer["message"])                                           # the message is all there is: some make theirs from other things


def family(base: type[FthetaError]) -> Iterator[type[FthetaError]]:
    """A class and everything derived from it."""
    yield base
    for below in base.__subclasses__():
        yield from family(below)


def subject(order: Mapping[str, Any]) -> str:
    """What an order is about, in words."""
    files = [file[1] for file in order["step"].get("files", [])]
    about = f"{files[0]}" + (f" and {len(files) - 1:,} more files" if len(files) > 1 else "") if files else order["inputs"][0].rpartition("/")[2]
    return f"{order['step']['kind']} {about}"
