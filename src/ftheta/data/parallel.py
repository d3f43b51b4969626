"""Pairs of a text and its translation: split so that no text is in two parts, one tokenizer for both sides, rows of unequal length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ftheta.core.contract import PADDING, Batch, Ports
from ftheta.core.errors import DataError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared, Sections, in_memory
from ftheta.data.split import SPLITS, Split, assign
from ftheta.data.stages import digest
from ftheta.data.text import made_processor
from ftheta.data.tokenizers import controls

PORTS = {"source": "ids B S", "source_documents": "ids B S", "tokens": "ids B T", "documents": "ids B T"}


class Pair(NamedTuple):
    """A text and its translation."""

    source: str
    target: str


class ParallelTexts(Dataset):
    """source (B, S) is a text to be answered to, tokens (B, T) its translation, as `sources` and `targets` say.

    Both are padded to the longest row of the batch; `source_documents` and `documents` are 0, padding's -1.
    """

    def __init__(self, pairs: Sequence[Pair], processor: TextProcessor, longest: int):
        self.pairs = list(pairs)
        self.processor = processor
        self.longest = longest
        self.sources = processor.sources([pair.source for pair in pairs], longest)
        self.targets = targets(processor, [pair.target for pair in pairs], longest)
        self.tokens = torch.tensor([len(source) + len(target) for source, target in zip(self.sources, self.targets, strict=True)])

    @property
    def ports(self) -> Ports:
        return Ports(gives=PORTS, sizes={"V": self.processor.vocab, "T": self.longest, "S": self.longest})

    @property
    def fingerprint(self) -> str:
        return digest([self.sources, self.targets])

    @property
    def lengths(self) -> Tensor:
        return self.tokens

    @property
    def units_per_example(self) -> int:
        return max(1, round(float(self.tokens.float().mean())))

    def __len__(self) -> int:
        return len(self.pairs)

    def texts(self, rows: Tensor) -> list[tuple[str, str]]:
        """These examples as they were written: a text and its translation each."""
        return [tuple(self.pairs[row]) for row in rows.tolist()]                           # type: ignore[misc]

    def batch(self, rows: Tensor) -> Batch:
        pad, chosen = self.processor.id("pad") or 0, rows.tolist()
        batch: Batch = {}
        for name, number, given in (("source", "source_documents", self.sources), ("tokens", "documents", self.targets)):
            ids = [torch.tensor(given[row]) for row in chosen]
            batch[name] = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad)
            batch[number] = torch.nn.utils.rnn.pad_sequence([torch.zeros_like(row) for row in ids], batch_first=True, padding_value=PADDING)
        return batch


def targets(processor: TextProcessor, texts: Sequence[str], longest: int | None = None) -> list[list[int]]:
    """Answers: the token that makes a decoder start, the text, and the token that ends it."""
    begin, end = processor.answer_start, [processor.borders[1]]
    found = [each.ids for each in processor.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    return [[*begin, *ids[: None if longest is None else longest - len(begin) - len(end)], *end] for ids in found]


def prepare_parallel(parts: Mapping[str, Sequence[Pair] | float], longest: int, reverse: bool, sections: Sections) -> Prepared:
    """Split, make the tokenizer from both sides of the training pairs, encode. Raises DataError when too little is left."""
    dropped = Counter[str]()
    divided = {name: said(pairs, dropped) for name, pairs in divide(parts, sections.seed).items()}
    train = divided["train"]
    if not train:
        raise DataError("data.source: no pair of texts is left to train on")
    texts = [text for pair in train for text in pair]
    processor = ended(made_processor(digest(texts), lambda: texts, sections))
    divided["train"] = [*train, *(Pair(pair.target, pair.source) for pair in train if reverse)]
    splits: dict[str, Dataset] = {}
    for name, pairs in divided.items():
        if name == "train":
            pairs = short_enough(pairs, processor, longest, dropped)
        if pairs:
            splits[name] = ParallelTexts(pairs, processor, longest)
    if "train" not in splits:
        raise DataError(f"data.source.longest: every pair has a text of more than {longest} tokens")
    prepared = in_memory(splits, processor)
    prepared.account["dropped"] = dict(dropped)
    prepared.texts = {name: [text for pair in divided[name] for text in pair] for name in ("train", "test") if name in divided}
    return prepared


def divide(parts: Mapping[str, Sequence[Pair] | float], seed: int) -> dict[str, list[Pair]]:
    """The pairs of every part. Of the training pairs those that share a text, on either side, stay together when shares are taken from them."""
    found = {name: list(given) for name, given in parts.items() if not isinstance(given, float | int)}
    shares = {name: given for name, given in parts.items() if isinstance(given, float | int)}
    if not any(shares.values()):
        return found
    pairs, group = found["train"], together(found["train"])
    names = sorted(set(group))
    chosen = assign([pairs[name].source for name in names], Split(**{"validation": 0.0, "test": 0.0, **shares}), seed)
    part_of = {names[i]: part for part in SPLITS for i in chosen[part]}
    for part in SPLITS:
        taken = [pair for pair, name in zip(pairs, group, strict=True) if part_of[name] == part]
        found[part] = taken if part == "train" or taken else found.get(part, [])
    return found


def together(pairs: Sequence[Pair]) -> list[int]:
    """For every pair the first one that it is linked with by texts they share."""
    first = list(range(len(pairs)))

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = first[first[i]]
            i = first[i]
        return i

    seen: dict[tuple[int, str], int] = {}
    for i, pair in enumerate(pairs):
        for side, text in enumerate(pair):
            a, b = sorted((root(i), root(seen.setdefault((side, text), i))))
            first[b] = a
    return [root(i) for i in range(len(pairs))]


def said(pairs: Sequence[Pair], dropped: Counter[str]) -> list[Pair]:
    """The pairs both of whose texts say something."""
    kept = [pair for pair in pairs if pair.source.strip() and pair.target.strip()]
    if len(kept) < len(pairs):
        dropped["empty"] += len(pairs) - len(kept)
    return kept


def short_enough(pairs: Sequence[Pair], processor: TextProcessor, longest: int, dropped: Counter[str]) -> list[Pair]:
    """The pairs that fit: a cut translation would teach the model to stop early."""
    both = zip(processor.sources([pair.source for pair in pairs]), targets(processor, [pair.target for pair in pairs]), strict=True)
    kept = [pair for pair, rows in zip(pairs, both, strict=True) if max(map(len, rows)) <= longest]
    if len(kept) < len(pairs):
        dropped[f"more than {longest} tokens"] += len(pairs) - len(kept)
    return kept


def ended(processor: TextProcessor) -> TextProcessor:
    """The processor with what its tokenizer puts around texts or, where that is nothing, the token that ends a document after them."""
    processor.begin, processor.end = controls.frame(processor.tokenizer)
    if not processor.end:
        processor.end = [end for end in [processor.tokenizer.id_to_token(processor.borders[1])] if end is not None]
    return processor
