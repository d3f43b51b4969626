"""Data sets of encoded conversations: packed whole into rows, in pairs of a preferred answer and another, or each with a verdict."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ftheta.core.best_fit import best_fit
from ftheta.core.contract import PADDING, Batch, Ports
from ftheta.data.source import Dataset


@dataclass(frozen=True)
class Encoded:
    """Conversations end to end: token ids, whether each is learned, and where every conversation begins."""

    tokens: np.ndarray
    learned: np.ndarray
    offsets: np.ndarray

    @classmethod
    def read(cls, folder: Path, part: str) -> Encoded:
        return cls(*(np.load(folder / f"{part}.{name}.npy", mmap_mode="r") for name in ("tokens", "learned", "offsets")))

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets, append=len(self.tokens))

    def talk(self, index: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of one conversation and whether each is learned, at most `longest` of them."""
        start = int(self.offsets[index])
        stop = min(start + int(self.lengths[index]), start + longest)
        return self.tokens[start:stop], self.learned[start:stop]

    def question(self, index: int) -> tuple[list[int], list[int]]:
        """Tokens of one conversation up to its last answer, and those of that answer with what ends it; no answer: all of them, and none."""
        start, length = int(self.offsets[index]), int(self.lengths[index])
        tokens, learned = self.tokens[start : start + length], self.learned[start : start + length]
        if not learned.any():
            return tokens.tolist(), []
        last = int(np.flatnonzero(learned)[-1])
        before = np.flatnonzero(~learned[:last])
        first = int(before[-1]) + 1 if len(before) else 0
        return tokens[:first].tolist(), tokens[first : last + 1].tolist()


class Talks(Dataset):
    """What both data sets of conversations hold."""

    def __init__(self, encoded: Encoded, fingerprint: str, vocab: int, length: int, lookahead: int, pad: int):
        self.encoded = encoded
        self.content = fingerprint
        self.vocab = vocab
        self.length = length
        self.width = length + lookahead
        self.pad = pad

    @property
    def fingerprint(self) -> str:
        return self.content

    def empty(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of padding, of which nothing is learned."""
        return np.full((rows, self.width), self.pad, np.int64), np.zeros((rows, self.width), bool)


class Conversations(Talks):
    """Whole conversations packed into rows (best fit): tokens, documents and which tokens are learned, each (B, length + lookahead)."""

    def __init__(self, encoded: Encoded, fingerprint: str, vocab: int, length: int, lookahead: int, pad: int):
        super().__init__(encoded, fingerprint, vocab, length, lookahead, pad)
        self.rows = best_fit(encoded.lengths, self.width)

    @property
    def ports(self) -> Ports:
        return Ports(gives={"tokens": "ids B T", "documents": "ids B T", "learned": "mask B T"}, sizes={"V": self.vocab, "T": self.length})

    @property
    def units_per_example(self) -> int:
        return self.length

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Tensor) -> Batch:
        tokens, learned = self.empty(len(rows))
        documents = np.full_like(tokens, PADDING)
        for place, row in enumerate(rows.tolist()):
            at = 0
            for number, index in enumerate(self.rows[row]):
                ids, said = self.encoded.talk(index, self.width)
                where = (place, slice(at, at + len(ids)))
                tokens[where], learned[where], documents[where] = ids, said, number
                at += len(ids)
        return {"tokens": torch.from_numpy(tokens), "documents": torch.from_numpy(documents), "learned": torch.from_numpy(learned)}


class Rows(Talks):
    """A row is two conversations side by side: of each its tokens, documents (padding on the right) and which tokens are learned, (B, length + lookahead)."""

    parts: ClassVar[tuple[str, str]]
    """What the two are called."""

    @classmethod
    def gives(cls) -> dict[str, str]:
        return {name: spec for part in cls.parts for name, spec in ((part, "ids B T"), (f"{part}_documents", "ids B T"), (f"{part}_learned", "mask B T"))}

    @property
    def ports(self) -> Ports:
        return Ports(gives=self.gives(), sizes={"V": self.vocab, "T": self.length})

    @property
    def units_per_example(self) -> int:
        return 2 * self.length

    @abstractmethod
    def talk(self, row: int, number: int) -> tuple[Sequence[int] | np.ndarray, Sequence[bool] | np.ndarray]:
        """Tokens of one of a row's conversations, and whether each is learned."""

    def batch(self, rows: Tensor) -> Batch:
        batch: Batch = {}
        for number, part in enumerate(self.parts):
            tokens, learned = self.empty(len(rows))
            documents = np.full_like(tokens, PADDING)
            for place, row in enumerate(rows.tolist()):
                ids, said = (values[: self.width] for values in self.talk(row, number))
                tokens[place, : len(ids)], learned[place, : len(ids)], documents[place, : len(ids)] = ids, said, 0
            batch |= {part: torch.from_numpy(tokens), f"{part}_documents": torch.from_numpy(documents), f"{part}_learned": torch.from_numpy(learned)}
        return batch


class Pairs(Rows):
    """A question with two answers: the one that was chosen and the one that was rejected."""

    parts = ("chosen", "rejected")

    def __len__(self) -> int:
        return len(self.encoded.offsets) // 2

    def talk(self, row: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        return self.encoded.talk(2 * row + number, self.width)


class Judged(Rows):
    """A question with its answer, whether that is good (B,), and the same question with the answer to the next one, which does not fit it."""

    parts = ("answer", "other")

    def __init__(self, encoded: Encoded, fingerprint: str, vocab: int, length: int, lookahead: int, pad: int, good: Sequence[bool]):
        super().__init__(encoded, fingerprint, vocab, length, lookahead, pad)
        self.good = torch.tensor(good)

    @classmethod
    def gives(cls) -> dict[str, str]:
        return {**super().gives(), "good": "mask B"}

    def __len__(self) -> int:
        return len(self.encoded.offsets)

    def talk(self, row: int, number: int) -> tuple[list[int], list[bool]]:
        asked, answer = self.encoded.question(row)[0], self.encoded.question((row + number) % len(self))[1]
        return [*asked, *answer], [False] * len(asked) + [True] * len(answer)

    def batch(self, rows: Tensor) -> Batch:
        return {**super().batch(rows), "good": self.good[rows]}
