"""The contract of an export format: what it cannot say, what it writes, and who opens it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ftheta.architectures.architecture import call
from ftheta.core.atomic import Attempt
from ftheta.core.contract import Batch
from ftheta.core.errors import UsageError, suggest
from ftheta.data.processors.processor import Processor
from ftheta.models.folder import generation_of
from ftheta.models.model import Model


class Consumer(ABC):
    """A program that uses an export: how it reads inputs, and what it answers."""

    processor: Processor
    generation: Mapping[str, Any] | None
    """How it writes texts unless told otherwise."""

    @abstractmethod
    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """The model's outputs by name for the inputs that the export names."""


class Ours(Consumer):
    """This package."""

    def __init__(self, model: Model):
        self.model = model
        self.processor = model.processor
        self.generation = generation_of(model)

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        found = call(self.model.architecture, batch)
        return {name: found[name].detach() for name in answers(self.model)}


class Format(ABC):
    """One way to export a model, in one of its precisions."""

    precisions: ClassVar[tuple[str, ...]] = ("f32",)
    """What weights can be kept as, the usual one first."""
    bounds: ClassVar[Mapping[str, float]] = {}
    """Precision → how far the outputs may be from the model's, as a share of their size; f32 is held to rounding."""

    def __init__(self, precision: str | None = None):
        """Raises UsageError for a precision that it has not."""
        self.precision = precision or self.precisions[0]
        if self.precision not in self.precisions:
            raise UsageError(f"precision: this format has no '{self.precision}'{suggest(self.precision, self.precisions, 'precisions')}")

    def reasons(self, model: Model) -> list[str]:
        """Why this model cannot go this way; empty when it can."""
        return []

    def expected(self, model: Model) -> Model:
        """The model with its parameters as this format keeps them, worked out without the export: what a consumer must answer to rounding."""
        return model

    @abstractmethod
    def write(self, model: Model, attempt: Attempt) -> None:
        """Write its files into a folder that is being committed."""

    @abstractmethod
    def open(self, folder: Path) -> Consumer:
        """Open what was written, as those do whom it is for, from the files alone."""


def answers(model: Model) -> list[str]:
    """The outputs that are answers: not what a model adds to its loss."""
    return [name for name, spec in model.architecture.config.ports().gives.items() if not spec.startswith("loss")]
