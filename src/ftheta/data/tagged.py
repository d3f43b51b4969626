"""Texts whose words have tags: words → tokens, of which the first of every word carries the tag; batches padded to their longest row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Encoding
from torch import Tensor

from ftheta.core.contract import UNTAGGED, Batch, Ports
from ftheta.core.log import logger
from ftheta.data.labelled import trained
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared, Sections, in_memory
from ftheta.data.stages import digest


@dataclass(frozen=True)
class TaggedSentence:
    """Words and the tag of each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class TaggedTexts(Dataset):
    """Encoded sentences and the class of every token, UNTAGGED where there is none."""

    def __init__(self, encodings: Sequence[Encoding], tags: Sequence[Tensor], processor: TextProcessor, longest: int):
        self.encodings = list(encodings)
        self.tags = list(tags)
        self.processor = processor
        self.longest = longest

    @property
    def ports(self) -> Ports:
        gives = {"tokens": "ids B T", "documents": "ids B T", "segments": "ids B T", "label": "label B T"}
        return Ports(gives=gives, sizes={"V": self.processor.vocab, "T": self.longest, "K": len(self.processor.labels)})

    @property
    def fingerprint(self) -> str:
        return digest([[encoding.ids for encoding in self.encodings], [tags.tolist() for tags in self.tags], self.processor.labels])

    def __len__(self) -> int:
        return len(self.encodings)

    def batch(self, rows: Tensor) -> Batch:
        chosen = rows.tolist()
        batch = self.processor.batch([self.encodings[i] for i in chosen])
        label = torch.full_like(batch["tokens"], UNTAGGED)
        for place, i in enumerate(chosen):
            label[place, : len(self.tags[i])] = self.tags[i]
        return {**batch, "label": label}


def prepare_tagged(parts: Mapping[str, Sequence[TaggedSentence]], longest: int, sections: Sections) -> Prepared:
    """Make the tokenizer from the training sentences and encode all parts. The classes are the tags, `O` first."""
    processor = trained([" ".join(sentence.words) for sentence in parts["train"]], sections)
    processor.by_words = True
    processor.labels = sorted({tag for sentences in parts.values() for sentence in sentences for tag in sentence.tags}, key=lambda tag: (tag != "O", tag))
    number = {tag: i for i, tag in enumerate(processor.labels)}
    splits: dict[str, Dataset] = {}
    for name, sentences in parts.items():
        encodings, tags, lost = [], [], 0
        for sentence in sentences:
            encoding = processor.frame_words(sentence.words, longest)
            label, last = torch.full((len(encoding.ids),), UNTAGGED), None
            for place, word in enumerate(encoding.word_ids):
                if word is not None and word != last:
                    label[place] = number[sentence.tags[word]]
                last = word
            lost += len(sentence.words) - int((label != UNTAGGED).sum())
            encodings.append(encoding)
            tags.append(label)
        if lost:
            logger.warning("%s words of the %s split stand beyond the %s tokens that are read: see data.source.longest", f"{lost:,}", name, f"{longest:,}")
        splits[name] = TaggedTexts(encodings, tags, processor, longest)
    return in_memory(splits, processor)
