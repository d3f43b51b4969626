"""The contract of a task: input type, output type, how to run it on a batch, how to show a result.

Python's `model.predict`, the command line and the HTTP route are all made from it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from ftheta.architectures.architecture import Architecture
from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.data.processors.processor import Processor

I = TypeVar("I", bound=Config)  # noqa: E741
O = TypeVar("O", bound=Config)  # noqa: E741
P = TypeVar("P", bound=Processor)


class Asked(NamedTuple):
    """An input that was asked for, and the file that it is from, if it is from one of several."""

    file: str
    fields: dict[str, Any]


class Task(ABC, Generic[I, O, P]):
    """One way to use a model."""

    name: ClassVar[str]
    """Its name in the catalogue."""
    input: ClassVar[type[Config]]
    output: ClassVar[type[Config]]
    files: ClassVar[tuple[str, ...]] = ()
    """Fields of the input that name files of this machine, which nobody on another one may have opened."""

    def __init__(self, architecture: Architecture, processor: P):
        self.architecture = architecture
        self.processor = processor

    def read(self, text: str) -> dict[str, Any]:
        """An input as typed on a command line: JSON by default."""
        try:
            value = json.loads(text)
        except ValueError:
            raise UsageError(f"'{self.name}' takes JSON with the fields {', '.join(self.input.model_fields)}, got {text[:60]!r}") from None
        return value if isinstance(value, dict) else {next(iter(self.input.model_fields)): value}

    def asked(self, text: str, fetch: bool = False) -> list[Asked]:
        """The inputs that a text of a command line stands for; of a folder of files, where the task takes such, one for each.

        `fetch` allows files that lie behind an address to be read. Raises UsageError, DataError.
        """
        return [Asked("", self.read(text))]

    @abstractmethod
    def run(self, inputs: Sequence[I]) -> list[O]:
        """Answer each input."""

    @abstractmethod
    def show(self, output: O) -> str:
        """An answer as a person reads it."""
