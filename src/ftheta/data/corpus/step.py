"""A step: one unit of work on shards, a pure function of its own fields and of the folders it reads. As plain JSON it goes to any process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftheta.core.atomic import Attempt, verify
from ftheta.core.catalog import Catalogue
from ftheta.core.config import Config, Slot
from ftheta.data.stages import place_of, stage

STEPS = Catalogue(
    "step",
    {
        "assign": "ftheta.data.corpus.dividing:Assign",
        "clean": "ftheta.data.corpus.cleaning:Clean",
        "compare": "ftheta.data.corpus.comparing:Compare",
        "deduplicate": "ftheta.data.corpus.comparing:Deduplicate",
        "divide": "ftheta.data.corpus.dividing:Divide",
        "fit": "ftheta.data.corpus.packing:Fit",
        "keys": "ftheta.data.corpus.dividing:Keys",
        "read": "ftheta.data.corpus.reading:Read",
        "sample": "ftheta.data.corpus.tokenizing:Sample",
        "signatures": "ftheta.data.corpus.comparing:Signatures",
        "tokens": "ftheta.data.corpus.tokenizing:Tokens",
    },
)


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
    return stage(cache, *named(step, inputs), lambda attempt: step.build(attempt, inputs), thorough=False)


def order_of(step: Step, inputs: Sequence[Path], cache: Path) -> dict[str, Any]:
    """What a process needs to be told to perform a step, as plain data."""
    return {"step": step.dump(), "inputs": [str(place) for place in inputs], "cache": str(cache)}


def perform_order(order: Mapping[str, Any]) -> Path:
    """Perform what `order_of` says."""
    step = Slot(STEPS).parse(order["step"])
    assert isinstance(step, Step)
    return perform(step, [Path(place) for place in order["inputs"]], Path(order["cache"]))
