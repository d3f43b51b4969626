"""Questions with some answers to choose among: each answer is a text of its own beside the question, `[CLS] question [SEP] answer [SEP]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.data.labelled import framed
from ftheta.data.processors.text import Framed, TextProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared, Sections, in_memory
from ftheta.data.stages import digest
from ftheta.data.text import made_processor

CHOICES = {"tokens": "ids B K T", "documents": "ids B K T", "segments": "ids B K T", "label": "label B"}


@dataclass(frozen=True)
class Choice:
    """What is asked, the answers offered and which of them is right."""

    question: str
    context: str | None
    """A text to be read first, if there is one."""
    offered: tuple[str, ...]
    right: int

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The two texts of every answer."""
        return pairs(self.question, self.context, self.offered)


def pairs(question: str, context: str | None, offered: Sequence[str]) -> list[tuple[str, str]]:
    """(question, answer), or (context, question and answer) as RACE's readers have it, for every answer."""
    return [(question, answer) if context is None else (context, f"{question} {answer}") for answer in offered]


class ChoiceTexts(Dataset):
    """Encoded answers and the number of the right one."""

    def __init__(self, encodings: Sequence[Sequence[Framed]], right: Tensor, processor: TextProcessor, longest: int):
        self.encodings = list(encodings)
        self.right = right
        self.processor = processor
        self.longest = longest

    @property
    def ports(self) -> Ports:
        return Ports(gives=CHOICES, sizes={"V": self.processor.vocab, "T": self.longest})

    @property
    def fingerprint(self) -> str:
        return digest([[[text.ids for text in row] for row in self.encodings], self.right.tolist()])

    def __len__(self) -> int:
        return len(self.encodings)

    def batch(self, rows: Tensor) -> Batch:
        return {**self.processor.choices([self.encodings[i] for i in rows.tolist()]), "label": self.right[rows]}


def prepare_choices(parts: Mapping[str, Sequence[Choice]], longest: int, sections: Sections) -> Prepared:
    """Make the tokenizer from the training texts and encode all parts."""
    texts = list(dict.fromkeys(text for item in parts["train"] for text in (item.context, item.question, *item.offered) if text is not None))
    processor = framed(made_processor(digest(texts), lambda: texts, sections))
    processor.longest = longest
    splits: dict[str, Dataset] = {}
    for name, items in parts.items():
        encodings = [[processor.frame(first, second, longest) for first, second in item.pairs] for item in items]
        splits[name] = ChoiceTexts(encodings, torch.tensor([item.right for item in items]), processor, longest)
    return in_memory(splits, processor)
