"""Data sets of encoded conversations: packed whole into rows, or in pairs of a preferred answer and another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ftheta.core.contract import PADDING, Batch, Ports
from ftheta.data.packing import best_fit
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


class Pairs(Talks):
    """A row is a question with two answers: chosen, rejected and which of their tokens are learned, each (B, length + lookahead), padded on the right."""

    @property
    def ports(self) -> Ports:
        gives = {name: spec for part in ("chosen", "rejected") for name, spec in ((part, "ids B T"), (f"{part}_learned", "mask B T"))}
        return Ports(gives=gives, sizes={"V": self.vocab, "T": self.length})

    @property
    def units_per_example(self) -> int:
        return 2 * self.length

    def __len__(self) -> int:
        return len(self.encoded.offsets) // 2

    def batch(self, rows: Tensor) -> Batch:
        batch: Batch = {}
        for number, part in enumerate(("chosen", "rejected")):
            tokens, learned = self.empty(len(rows))
            for place, row in enumerate(rows.tolist()):
                ids, said = self.encoded.talk(2 * row + number, self.width)
                tokens[place, : len(ids)], learned[place, : len(ids)] = ids, said
            batch |= {part: torch.from_numpy(tokens), f"{part}_learned": torch.from_numpy(learned)}
        return batch
