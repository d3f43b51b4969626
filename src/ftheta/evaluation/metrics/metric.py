"""The contract of a metric: measurements with n, seed and a 95 % interval, and exhibits a person can look at."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ftheta.core.config import Config
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
    texts: Mapping[str, list[str]]
    """Cleaned documents by split, for text."""
    seed: int
    source: Any = None
    """The source's config, for experience: environments are made anew from it."""
    prompts: Mapping[str, Dataset] = field(default_factory=dict)
    """Conversations by split, whose last answers the model is to give itself."""


@dataclass
class Result:
    """What a metric found: numbers, files to look at (name → bytes) and texts to read (title → text)."""

    measurements: list[Measurement] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


class Metric(Config, ABC):
    """A way to look at a trained model; `kind` is its name in the catalogue."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return str(getattr(self, "kind"))  # noqa: B009

    def needs(self) -> dict[str, str]:
        """Outputs of the model it reads, as port specs."""
        return {}

    def objectives(self) -> tuple[Objective, ...]:
        """Objectives whose losses it measures: they must fit the data and the model too."""
        return ()

    @abstractmethod
    def measure(self, subject: Subject) -> Result:
        """Look at the test split (or act in a fresh environment)."""
