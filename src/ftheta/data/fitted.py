"""Rows of whole documents, as best fit laid them, padded where nothing more fitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftheta.core.contract import PADDING, Batch, Ports
from ftheta.core.errors import DataError
from ftheta.core.late import torch
from ftheta.data.corpus.shards import account_of
from ftheta.data.source import Dataset
from ftheta.data.stages import digest, intact

if TYPE_CHECKING:
    from torch import Tensor


class FittedDataset(Dataset):
    """Rows of `length + lookahead` tokens: documents one after the other, never cut unless longer than a row, then padding, which belongs to document -1.

    A batch gives tokens (B, length + lookahead) and documents of the same shape: which piece of its row a token is of. `laid` says for each file of
    tokens the folder of what lies where. A shard is verified and mapped when a row of it is first read.
    """

    def __init__(self, files: Sequence[Path], laid: Sequence[Path], fingerprint: str, vocab: int, length: int, lookahead: int, pad: int):
        counts = [account_of(folder)[file.stem]["rows"] for file, folder in zip(files, laid, strict=True)]
        self.shards = [shard for shard, count in zip(zip(files, laid, strict=True), counts, strict=True) if count]
        self.ends = np.cumsum([count for count in counts if count])
        self.mapped: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self.content = fingerprint
        self.vocab = vocab
        self.length = length
        self.lookahead = lookahead
        self.pad = pad
        if not self.shards:
            raise DataError("this split holds no document: use more text")

    @property
    def ports(self) -> Ports:
        return Ports(gives={"tokens": "ids B T", "documents": "ids B T"}, sizes={"V": self.vocab, "T": self.length})

    @property
    def fingerprint(self) -> str:
        return digest([self.content, "best_fit", self.length, self.lookahead])

    @property
    def units_per_example(self) -> int:
        return self.length

    def __len__(self) -> int:
        return int(self.ends[-1])

    def shard(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, pieces, and where the rows' pieces begin. Raises DamagedError for files that are not as they were written."""
        if number not in self.mapped:
            file, folder = self.shards[number]
            places = [intact(file.parent, file.name), *(intact(folder, f"{file.stem}-{name}.npy") for name in ("pieces", "rows"))]
            tokens, pieces, rows = (np.load(place, mmap_mode="r") for place in places)
            self.mapped[number] = tokens, pieces, rows
        return self.mapped[number]

    def batch(self, rows: Tensor) -> Batch:
        shape = (len(rows), self.length + self.lookahead)
        tokens, documents = np.full(shape, self.pad, np.int64), np.full(shape, PADDING, np.int64)
        for place, row in enumerate(rows.tolist()):
            number = int(np.searchsorted(self.ends, row, side="right"))
            stored, pieces, begins = self.shard(number)
            row -= int(self.ends[number]) - (len(begins) - 1)
            at = 0
            for document, (start, size) in enumerate(pieces[begins[row] : begins[row + 1]].tolist()):
                tokens[place, at : at + size] = stored[start : start + size]
                documents[place, at : at + size] = document
                at += size
        return {"tokens": torch.from_numpy(tokens), "documents": torch.from_numpy(documents)}
