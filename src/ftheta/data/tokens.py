"""Rows of tokens cut from documents laid end to end: `<bos> text <eos> <bos> text <eos> ...`, memory-mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import DataError
from ftheta.data.source import Dataset
from ftheta.data.tokenizers.trained import BOS


class TokenDataset(Dataset):
    """Windows of `length + lookahead` tokens, a new one every `length`; the lookahead holds the last tokens' targets.

    A batch gives tokens (B, length + lookahead) and documents of the same shape: which document of its row a token belongs to.
    """

    def __init__(self, path: Path, fingerprint: str, vocab: int, length: int, lookahead: int):
        self.tokens = np.load(path, mmap_mode="r")
        self.content = fingerprint
        self.vocab = vocab
        self.length = length
        self.lookahead = lookahead
        if len(self) < 1:
            raise DataError(f"this split holds {len(self.tokens):,} tokens, fewer than one row of {length + lookahead:,}: use more text or a smaller data.pack.length")

    @property
    def ports(self) -> Ports:
        return Ports(gives={"tokens": "ids B T", "documents": "ids B T"}, sizes={"V": self.vocab, "T": self.length})

    @property
    def fingerprint(self) -> str:
        return self.content

    @property
    def units_per_example(self) -> int:
        return self.length

    def __len__(self) -> int:
        return (len(self.tokens) - self.lookahead) // self.length

    def batch(self, rows: Tensor) -> Batch:
        index = rows.numpy()[:, None] * self.length + np.arange(self.length + self.lookahead)
        tokens = torch.from_numpy(self.tokens[index].astype(np.int64))
        return {"tokens": tokens, "documents": (tokens == BOS).cumsum(1)}
