"""Rows of tokens cut from documents laid end to end, `<bos> text <eos> <bos> text <eos> ...` or whatever tokens do that, memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import DataError
from ftheta.core.late import torch
from ftheta.data.corpus.shards import account_of
from ftheta.data.joined import Joined
from ftheta.data.source import Dataset
from ftheta.data.tokenizers.trained import BOS, EOS

if TYPE_CHECKING:
    from torch import Tensor


class TokenDataset(Dataset):
    """Windows of `length + lookahead` tokens, a new one every `length`; the lookahead holds the last tokens' targets.

    A batch gives tokens (B, length + lookahead) and documents of the same shape: which document of its row a token belongs to.
    `borders` are the tokens that begin and end a document; where one token does both, a document begins where two of them meet.
    """

    def __init__(self, files: Sequence[Path], fingerprint: str, vocab: int, length: int, lookahead: int, borders: tuple[int, int] = (BOS, EOS)):
        self.tokens = Joined(files, [account_of(file.parent)[file.stem]["tokens"] for file in files])
        self.content = fingerprint
        self.vocab = vocab
        self.length = length
        self.lookahead = lookahead
        self.borders = borders
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
        tokens = torch.from_numpy(self.tokens.take(index).astype(np.int64))
        first, last = self.borders
        starts = tokens == first
        if first == last:
            starts &= torch.from_numpy(self.tokens.take((index - 1).clip(0)) == last) | torch.from_numpy(index == 0)
        return {"tokens": tokens, "documents": starts.cumsum(1)}
