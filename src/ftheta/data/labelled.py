"""Labelled texts, or pairs of texts: split class by class, a tokenizer made from the training texts, batches padded to their longest row."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Encoding, processors
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import DataError
from ftheta.data.images import stratified
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared, Sections, SourceConfig, in_memory
from ftheta.data.stages import digest
from ftheta.data.text import made_processor

PORTS = {"tokens": "ids B T", "documents": "ids B T", "segments": "ids B T", "label": "label B"}


@dataclass(frozen=True)
class Example:
    """A text, or a pair of texts, and its class."""

    text: str
    second: str | None
    label: str


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

    def prepare(self, sections: Sections) -> Prepared:
        return prepare_labelled(self, sections)


class LabelledTexts(Dataset):
    """Encoded texts and the class of each."""

    def __init__(self, encodings: Sequence[Encoding], label: Tensor, processor: TextProcessor, longest: int):
        self.encodings = list(encodings)
        self.label = label
        self.processor = processor
        self.longest = longest

    @property
    def ports(self) -> Ports:
        return Ports(gives=PORTS, sizes={"V": self.processor.vocab, "T": self.longest, "K": len(self.processor.labels)})

    @property
    def fingerprint(self) -> str:
        return digest([[encoding.ids for encoding in self.encodings], self.label.tolist(), self.processor.labels])

    def __len__(self) -> int:
        return len(self.encodings)

    def batch(self, rows: Tensor) -> Batch:
        return {**self.processor.batch([self.encodings[i] for i in rows.tolist()]), "label": self.label[rows]}


def prepare_labelled(source: LabelledTextSource, sections: Sections) -> Prepared:
    """Read, split, make the tokenizer and encode. Raises DataError for what cannot be read or is too little."""
    examples = source.examples()
    classes = source.classes(examples)
    label = torch.tensor([classes.index(example.label) for example in examples])
    parts = divided(label, source.validation, source.test, sections.seed)
    processor = trained([text for i in parts["train"].tolist() for text in (examples[i].text, examples[i].second) if text is not None], sections)
    processor.labels = classes
    splits: dict[str, Dataset] = {}
    for name, rows in parts.items():
        encodings = [processor.frame(examples[i].text, examples[i].second, source.longest) for i in rows.tolist()]
        splits[name] = LabelledTexts(encodings, label[rows], processor, source.longest)
    return in_memory(splits, processor)


def divided(label: Tensor, validation: float, test: float, seed: int) -> dict[str, Tensor]:
    """The rows (n,) of every split, class by class. Raises DataError when none are left to train on."""
    parts = stratified(label, {name: share for name, share in (("validation", validation), ("test", test)) if share}, seed)
    left = torch.ones(len(label), dtype=torch.bool)
    for rows in parts.values():
        left[rows] = False
    parts = {"train": left.nonzero().flatten(), **{name: rows for name, rows in parts.items() if len(rows)}}
    if not len(parts["train"]):
        raise DataError(f"data.source: {len(label)} texts are too few to split")
    return parts


def trained(texts: Sequence[str], sections: Sections) -> TextProcessor:
    """The processor with a tokenizer made from the training texts, which puts its control tokens around every text."""
    return framed(made_processor(digest(texts), lambda: list(texts), sections))


def framed(processor: TextProcessor) -> TextProcessor:
    """The processor with the tokens that begin and end a document put around texts, where its tokenizer does not say what stands there."""
    if processor.tokenizer.post_processor is None:
        first, last = (processor.tokenizer.id_to_token(i) for i in processor.borders)
        marks = list({first: processor.borders[0], last: processor.borders[1]}.items())
        processor.tokenizer.post_processor = processors.TemplateProcessing(f"{first} $A {last}", f"{first} $A {last} $B:1 {last}:1", marks)
    return processor
