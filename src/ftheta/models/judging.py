"""What reward models say of token rows: each folder is opened once, and must know the same tokens as whoever asks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ftheta.architectures.architecture import Architecture, call
from ftheta.core.contract import PADDING
from ftheta.core.errors import UsageError
from ftheta.data.processors.processor import Processor
from ftheta.models.folder import load

ROWS = 64
"""Texts looked at together."""


class Judges:
    """`judges(folder, rows)` gives a number for each row of token ids. Raises FolderError, UsageError."""

    def __init__(self, processor: Processor):
        self.processor = processor
        self.opened: dict[str, Architecture] = {}

    @torch.no_grad()
    def __call__(self, folder: str, rows: Sequence[Sequence[int]]) -> list[float]:
        model, found = self.open(folder), list[float]()
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            width = max(map(len, part))
            tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in part])
            documents = torch.tensor([[0] * len(row) + [PADDING] * (width - len(row)) for row in part])
            found += call(model, {"tokens": tokens, "documents": documents})["value"].tolist()
        return found

    def open(self, folder: str) -> Architecture:
        if folder not in self.opened:
            model = load(folder)
            if model.architecture.config.ports().gives.get("value") != "real B":
                raise UsageError(f"{folder} gives no number for a text: name a model trained with objective 'reward'")
            if model.processor.files().get("tokenizer.json") != self.processor.files().get("tokenizer.json"):
                raise UsageError(f"{folder} does not know the tokens that are to be judged: it must have been trained from the same start, with the same tokenizer")
            self.opened[folder] = model.architecture.eval()
        return self.opened[folder]
