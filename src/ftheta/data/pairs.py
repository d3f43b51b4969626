"""Pairs of texts, with or without a score and a third text that does not belong to them; each side's batch is padded to its longest row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Encoding
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.data.kept import parted
from ftheta.data.labelled import trained
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared, Sections, in_memory
from ftheta.data.stages import digest


@dataclass(frozen=True)
class Pair:
    """Two texts, how well they belong together, and a text that does not belong to the first."""

    first: str
    second: str
    score: float | None = None
    negative: str | None = None

    @property
    def texts(self) -> dict[str, str]:
        return {"first": self.first, "second": self.second, **({} if self.negative is None else {"negative": self.negative})}


def pair_ports(score: bool, negative: bool, sizes: Mapping[str, int]) -> Ports:
    """What batches of pairs give."""
    sides = ("first", "second", *(["negative"] if negative else []))
    gives = {name: "ids B T" for side in sides for name in (side, f"{side}_documents")}
    return Ports(gives={**gives, **({"score": "real B"} if score else {})}, sizes=sizes)


class Pairs(Dataset):
    """The encoded texts of each side, and the scores (N,) where there are any."""

    def __init__(self, sides: Mapping[str, Sequence[Encoding]], score: Tensor | None, processor: TextProcessor, longest: int):
        self.sides = {side: list(encodings) for side, encodings in sides.items()}
        self.score = score
        self.processor = processor
        self.longest = longest

    @property
    def ports(self) -> Ports:
        return pair_ports(self.score is not None, "negative" in self.sides, {"V": self.processor.vocab, "T": self.longest})

    @property
    def fingerprint(self) -> str:
        scores = None if self.score is None else self.score.tolist()
        return digest([{side: [encoding.ids for encoding in encodings] for side, encodings in self.sides.items()}, scores])

    def __len__(self) -> int:
        return len(self.sides["first"])

    def batch(self, rows: Tensor) -> Batch:
        batch: Batch = {}
        for side, encodings in self.sides.items():
            found = self.processor.batch([encodings[i] for i in rows.tolist()])
            batch |= {side: found["tokens"], f"{side}_documents": found["documents"]}
        return batch if self.score is None else {**batch, "score": self.score[rows]}


def prepare_pairs(pairs: Sequence[Pair], held_out: Sequence[Pair], longest: int, validation: float, test: float, sections: Sections) -> Prepared:
    """Split, make the tokenizer from the training texts and encode; `held_out` pairs, where there are any, are the test split. Raises DataError."""
    parts = parted(pairs, torch.zeros(len(pairs)), {"validation": validation, "test": test}, lambda path: (), sections.seed)
    if held_out:
        parts["test"] = list(held_out)
    processor = trained([text for pair in parts["train"] for text in pair.texts.values()], sections)
    splits: dict[str, Dataset] = {}
    for name, part in parts.items():
        sides = {side: [processor.frame(pair.texts[side], None, longest) for pair in part] for side in part[0].texts}
        score = None if part[0].score is None else torch.tensor([pair.score for pair in part])
        splits[name] = Pairs(sides, score, processor, longest)
    return in_memory(splits, processor)
