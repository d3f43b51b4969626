"""Rows of tokens in a fixed order, as a data set for the Trainer."""

from __future__ import annotations

from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.data.source import Dataset


class Rows(Dataset):
    """(N, T + 1) token ids; the last of each row is only a target."""

    def __init__(self, tokens: Tensor, vocab: int):
        self.tokens = tokens
        self.vocab = vocab

    @property
    def ports(self) -> Ports:
        return Ports(gives={"tokens": "ids B T"}, sizes={"V": self.vocab, "T": self.units_per_example})

    @property
    def fingerprint(self) -> str:
        return "rows"

    @property
    def units_per_example(self) -> int:
        return self.tokens.shape[1] - 1

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, rows: Tensor) -> Batch:
        return {"tokens": self.tokens[rows]}
