"""The contract of a metric: measurements with n, seed and a 95 % interval, and exhibits a person can look at."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core.config import Config
from ftheta.core.contract import Ports, check, fits, listing
from ftheta.data.source import Dataset
from ftheta.models.model import Model
from ftheta.objectives.objective import Objective


@dataclass
class Measurement:
    """One number and what it came from."""

    name: str
    value: float
    low: float
    high: float
    """The 95 % interval."""
    n: int
    """How many units it rests on."""
    unit: str
    """What a unit is: document, image, episode, ..."""
    better: Literal["lower", "higher", "neither"]
    method: str
    """How the interval was found."""
    seed: int
    per_unit: dict[str, np.ndarray] = field(default_factory=dict)
    """The units' own values, in a fixed order, for paired comparisons: `value`, or `numerator` and `denominator`."""
    baselines: dict[str, float] = field(default_factory=dict)
    """The same number for well-known alternatives on the same units."""

    def facts(self) -> dict[str, Any]:
        """Everything but the units' values, as plain data; what is not finite (the interval of a single unit) is None."""
        plain = {key: value for key, value in vars(self).items() if key != "per_unit"}
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in plain.items()}


@dataclass
class Subject:
    """What a metric looks at."""

    model: Model
    splits: Mapping[str, Dataset]
    texts: Mapping[str, Sequence[str]]
    """Cleaned documents by split, for text."""
    seed: int
    source: Any = None
    """The source's config, for experience: environments are made anew from it."""
    prompts: Mapping[str, Dataset] = field(default_factory=dict)
    """Conversations by split, whose last answers the model is to give itself."""
    answers: dict[Any, Any] = field(default_factory=dict)
    """What the model has been made to say, by what was asked: several metrics read the same answers."""


@dataclass
class Result:
    """What a metric found: numbers, files to look at (name → bytes) and texts to read (title → text)."""

    measurements: list[Measurement] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, other: Result) -> None:
        """Take over what another metric found."""
        self.measurements += other.measurements
        self.pictures |= other.pictures
        self.texts |= other.texts


class Metric(Config, ABC):
    """A way to look at a trained model; `kind` is its name in the catalogue."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return str(getattr(self, "kind"))  # noqa: B009

    def needs(self) -> dict[str, str]:
        """Outputs of the model it reads, as port specs."""
        return {}

    def reads(self) -> dict[str, str]:
        """Tensors of the test split it reads, as port specs, where not every split has them."""
        return {}

    def objectives(self) -> tuple[Objective, ...]:
        """Objectives whose losses it measures: they must fit the data and the model too."""
        return ()

    def misfits(self, data: Ports, model: ArchitectureConfig) -> list[str]:
        """Every reason why this metric cannot look at this model on this data."""
        gives = model.ports().gives
        missing = {name: spec for name, spec in self.needs().items() if name not in gives or not fits(gives[name], spec)}
        reasons = [f"reads the model's {listing(missing)}, and '{model.name}' gives only {listing(gives)}: choose another metric"] if missing else []
        lacking = {name: spec for name, spec in self.reads().items() if name not in data.gives or not fits(data.gives[name], spec)}
        if lacking:
            reasons.append(f"reads {listing(lacking)} from the data, which gives only {listing(data.gives)}: choose another metric")
        return [f"evaluate: '{self.name}' {reason}" for reason in reasons] + [
            f"evaluate: '{self.name}': {reason}" for objective in self.objectives() for reason in check(data, model.ports(), objective.needs())
        ]

    @abstractmethod
    def measure(self, subject: Subject) -> Result:
        """Look at the test split (or act in a fresh environment)."""

    def exhibit(self, subject: Subject) -> Result:
        """What can be looked at while the model still learns: texts and pictures, nothing measured."""
        return Result()
