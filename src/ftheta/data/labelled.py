"""Texts, or pairs of texts, with a class, several classes or a number each: a tokenizer made from the training texts, batches padded to their longest row."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from tokenizers import Encoding, processors
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.data.kept import KeepsApart
from ftheta.data.processors.text import TextProcessor
from ftheta.data.several import many_hot
from ftheta.data.source import GROUP, Dataset, Groups
from ftheta.data.sources.source_config import Prepared, Sections, in_memory
from ftheta.data.stages import digest
from ftheta.data.text import made_processor

TEXTS = {"tokens": "ids B T", "documents": "ids B T", "segments": "ids B T"}
ANSWERS = {"label": "label B", "labels": "mask B K", "target": "real B"}


@dataclass(frozen=True)
class Example:
    """A text, or a pair of texts, and its class, classes or number, as they were written."""

    text: str
    second: str | None
    answer: str | tuple[str, ...]
    place: str = ""
    """Where it stands."""
    group: str | None = None
    """The group that metrics compare it by."""


class LabelledTextSource(KeepsApart):
    """A source of labelled texts, which a tokenizer turns into rows of unequal length."""

    sections = frozenset({"tokenizer"})

    longest: int
    predict: Literal["class", "number"]
    separator: str | None
    group: str | None = None

    @abstractmethod
    def parts(self, seed: int) -> dict[str, list[Example]]:
        """The examples of train and, where there are such, of validation and test. Raises DataError naming file and line for what cannot be read."""

    @abstractmethod
    def classes(self, examples: Sequence[Example]) -> list[str]:
        """The names of the classes, in the order of their numbers."""

    @property
    def answer(self) -> str:
        """What a batch calls the answers."""
        return "target" if self.predict == "number" else "label" if self.separator is None else "labels"

    def ports(self) -> Ports:
        return Ports(gives={**TEXTS, self.answer: ANSWERS[self.answer], **(GROUP if self.group else {})}, sizes={"T": self.longest})

    def prepare(self, sections: Sections) -> Prepared:
        return prepare_labelled(self.parts(sections.seed), self, sections)


class LabelledTexts(Dataset):
    """Encoded texts and, called `label`, `labels` or `target`, the class, the classes (N, K) or the number of each."""

    def __init__(self, encodings: Sequence[Encoding], name: str, answers: Tensor, processor: TextProcessor, longest: int, groups: Groups | None = None):
        self.encodings = list(encodings)
        self.name = name
        self.answers = answers
        self.processor = processor
        self.longest = longest
        self.groups = groups

    @property
    def ports(self) -> Ports:
        classes = {} if self.name == "target" else {"K": len(self.processor.labels)}
        return Ports(gives={**TEXTS, self.name: ANSWERS[self.name], **(GROUP if self.groups else {})}, sizes={"V": self.processor.vocab, "T": self.longest, **classes})

    @property
    def fingerprint(self) -> str:
        groups = [] if self.groups is None else [self.groups.names, self.groups.numbers.tolist()]
        return digest([[encoding.ids for encoding in self.encodings], self.answers.tolist(), self.processor.labels, *groups])

    def __len__(self) -> int:
        return len(self.encodings)

    def batch(self, rows: Tensor) -> Batch:
        groups = {} if self.groups is None else {"group": self.groups.numbers[rows]}
        return {**self.processor.batch([self.encodings[i] for i in rows.tolist()]), self.name: self.answers[rows], **groups}


def prepare_labelled(parts: Mapping[str, Sequence[Example]], source: LabelledTextSource, sections: Sections) -> Prepared:
    """Make the tokenizer from the training texts and encode all parts."""
    classes = source.classes([example for examples in parts.values() for example in examples]) if source.predict == "class" else []
    processor = trained([text for example in parts["train"] for text in (example.text, example.second) if text is not None], sections)
    processor.labels = classes
    splits: dict[str, Dataset] = {}
    for name, examples in parts.items():
        encodings = [processor.frame(example.text, example.second, source.longest) for example in examples]
        groups = [example.group for example in examples if example.group is not None]
        splits[name] = LabelledTexts(encodings, source.answer, numbers(examples, classes), processor, source.longest, Groups.of(groups) if groups else None)
    return in_memory(splits, processor)


def numbers(examples: Sequence[Example], classes: Sequence[str]) -> Tensor:
    """The answers of examples, (N,) numbers or classes or (N, K) which classes there are."""
    answers = [example.answer for example in examples]
    several = [answer for answer in answers if isinstance(answer, tuple)]
    if several:
        return many_hot(several, classes, [example.place for example in examples])
    return torch.tensor([classes.index(answer) if classes else float(answer) for answer in answers if isinstance(answer, str)])


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
