"""A step: one unit of work on shards, a pure function of its own fields and of the folders it reads. As plain JSON it goes to any process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftheta.core.atomic import Attempt
from ftheta.core.catalog import Catalogue
from ftheta.core.config import Config, Slot
from ftheta.data.stages import stage

STEPS = Catalogue(
    "step",
    {
        "assign": "ftheta.data.corpus.dividing:Assign",
        "clean": "ftheta.data.corpus.cleaning:Clean",
        "compare": "ftheta.data.corpus.comparing:Compare",
        "deduplicate": "ftheta.data.corpus.comparing:Deduplicate",
        "divide": "ftheta.data.corpus.dividing:Divide",
        "keys": "ftheta.data.corpus.dividing:Keys",
        "read": "ftheta.data.corpus.reading:Read",
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


def perform(step: Step, inputs: Sequence[Path], cache: Path) -> Path:
    """The committed folder of a step, found or built. An input is a folder of the same cache, so that its address says what it holds."""
    kind = str(getattr(step, "kind"))  # noqa: B009
    key = {"step": step.key(), "inputs": [f"{place.parent.name}/{place.name}" for place in inputs]}
    return stage(cache, kind, key, lambda attempt: step.build(attempt, inputs))


def order_of(step: Step, inputs: Sequence[Path], cache: Path) -> dict[str, Any]:
    """What a process needs to be told to perform a step, as plain data."""
    return {"step": step.dump(), "inputs": [str(place) for place in inputs], "cache": str(cache)}


def perform_order(order: Mapping[str, Any]) -> Path:
    """Perform what `order_of` says."""
    step = Slot(STEPS).parse(order["step"])
    assert isinstance(step, Step)
    return perform(step, [Path(place) for place in order["inputs"]], Path(order["cache"]))
