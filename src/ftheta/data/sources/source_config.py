"""The contract of a data source as a recipe names it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ftheta.core.config import Config
from ftheta.core.contract import Ports
from ftheta.data.processors.processor import Processor
from ftheta.data.source import Dataset


class SourceConfig(Config, ABC):
    """Where data comes from; `kind` is its name in the catalogue."""

    sections: ClassVar[frozenset[str]] = frozenset()
    """Which further sections of `data` are for it: clean, split, tokenizer, pack."""

    @abstractmethod
    def ports(self) -> Ports:
        """What a batch gives, and the sizes known without reading the data."""


class ResidentSource(SourceConfig):
    """A source whose examples are read once and stay in memory, already split."""

    @abstractmethod
    def processor(self, train: Dataset) -> Processor:
        """What turns raw inputs into this source's tensors, for the model folder."""

    @abstractmethod
    def splits(self, cache: Path, seed: int) -> dict[str, Dataset]:
        """Data sets named train, test and, where there is one, validation. `cache` is a folder for derived files."""


@dataclass(frozen=True)
class Document:
    """One text and where it came from."""

    name: str
    text: str


class TextSource(SourceConfig):
    """A source of documents, which cleaning, splitting, a tokenizer and packing turn into rows of tokens."""

    sections = frozenset({"clean", "split", "tokenizer", "pack"})

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Every document, in a fixed order. Raises DataError naming file and byte for what cannot be read."""


@dataclass(frozen=True)
class Example:
    """A text, or a pair of texts, and its class."""

    text: str
    second: str | None
    label: str


@dataclass(frozen=True)
class TaggedSentence:
    """Words and the tag of each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class LabelledTextSource(SourceConfig):
    """A source of labelled texts, which a tokenizer turns into rows of unequal length."""

    sections = frozenset({"tokenizer"})

    longest: int
    validation: float
    test: float

    @abstractmethod
    def examples(self) -> list[Example]:
        """Every example, in a fixed order. Raises DataError naming file and line for what cannot be read."""

    @abstractmethod
    def classes(self, examples: Sequence[Example]) -> list[str]:
        """The names of the classes, in the order of their numbers."""
