"""The contract of a data source as a recipe names it, and what it is prepared with and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ftheta.core.config import Config
from ftheta.core.contract import Batch, Ports
from ftheta.data.clean.rules import Rule
from ftheta.data.corpus.executors import Executor, Local
from ftheta.data.dedup.deduplication import Deduplication
from ftheta.data.pack import Pack
from ftheta.data.processors.processor import Processor
from ftheta.data.source import Dataset
from ftheta.data.split import Split
from ftheta.data.stages import digest
from ftheta.data.tokenizers.trained import TokenizerConfig

Judge = Callable[[str, Sequence[Sequence[int]]], list[float]]
"""A reward model's folder and token ids of texts → a number for each."""


@dataclass(frozen=True)
class Sections:
    """What the recipe says beside the source; a source reads those that it names in `sections`."""

    tokenizer: TokenizerConfig
    cache: Path
    """A folder for derived files."""
    clean: tuple[Rule, ...] = ()
    split: Split = field(default_factory=Split)
    pack: Pack = field(default_factory=Pack)
    deduplicate: tuple[Deduplication, ...] = ()
    lookahead: int = 0
    """How many tokens beyond a row the objective needs to see."""
    seed: int = 0
    controls: tuple[str, ...] = ()
    """Control tokens that the objective needs the tokenizer to have."""
    executor: Executor = field(default_factory=Local)
    """Who does the work on documents."""

    @property
    def split_seed(self) -> int:
        """Decides which documents are kept from training."""
        return self.seed if self.split.seed is None else self.split.seed


@dataclass
class Prepared:
    """What the data section amounts to once it has been read."""

    ports: Ports
    processor: Processor
    splits: dict[str, Dataset] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)
    """What came in, what was dropped, how large each split is."""
    card: Callable[[str], str] | None = None
    """The data card under a title, where there is more to say than the account does."""
    prompts: dict[str, Dataset] = field(default_factory=dict)
    """Conversations by split, whose last answers a model is to give itself."""
    reference: Callable[[Batch], Batch] | None = None
    """What the model that training starts from says of rows that are not known beforehand (experience)."""
    judge: Judge | None = None
    """What reward models say of texts (experience)."""


class SourceConfig(Config, ABC):
    """Where data comes from; `kind` is its name in the catalogue."""

    sections: ClassVar[frozenset[str]] = frozenset()
    """Which further sections of `data` are for it: clean, deduplicate, split, tokenizer, pack."""

    @abstractmethod
    def ports(self) -> Ports:
        """What a batch gives, and the sizes known without reading the data."""

    @abstractmethod
    def prepare(self, sections: Sections) -> Prepared:
        """Run or find the data stages. Raises DataError for what cannot be read or is too little."""


def source_name(source: SourceConfig) -> str:
    """Its name in the catalogue."""
    return str(getattr(source, "kind"))  # noqa: B009


def in_memory(splits: dict[str, Dataset], processor: Processor) -> Prepared:
    """Examples that are all at hand, and the account of them."""
    return Prepared(splits["train"].ports, processor, splits, account=account_of(splits))


def account_of(splits: Mapping[str, Dataset]) -> dict[str, Any]:
    """How large each split is, and what the data is recognised by."""
    return {"splits": {name: {"examples": len(split)} for name, split in splits.items()}, "fingerprint": digest([s.fingerprint for s in splits.values()])}


class ResidentSource(SourceConfig):
    """A source whose examples are read once and stay in memory, already split."""

    @abstractmethod
    def processor(self, train: Dataset) -> Processor:
        """What turns raw inputs into this source's tensors, for the model folder."""

    @abstractmethod
    def splits(self, cache: Path, seed: int) -> dict[str, Dataset]:
        """Data sets named train, test and, where there is one, validation. `cache` is a folder for derived files."""

    def prepare(self, sections: Sections) -> Prepared:
        splits = self.splits(sections.cache, sections.seed)
        return in_memory(splits, self.processor(splits["train"]))
