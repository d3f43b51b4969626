"""What tasks that read whole texts share: batches of texts of like length, padded, so that neither batch nor padding changes an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Encoding
from torch import Tensor

from ftheta.architectures.architecture import call
from ftheta.core.errors import UsageError
from ftheta.core.log import logger
from ftheta.data.processors.text import TextProcessor
from ftheta.models.tasks.task import I, O, Task

ROWS = 32
"""Texts looked at together."""


class ReadingTask(Task[I, O, TextProcessor]):
    """Texts in, outputs of the model for each."""

    def read(self, text: str) -> dict[str, Any]:
        return super().read(text) if text.lstrip().startswith("{") else {next(iter(self.input.model_fields)): text}

    @property
    def longest(self) -> int:
        """Tokens of a text that are read: what the model can, or less where the processor says so."""
        most = self.architecture.room
        assert most is not None
        return min(most, self.processor.longest or most)

    def frame(self, texts: Sequence[tuple[str, str | None]] | Sequence[tuple[str, str]]) -> list[Encoding]:
        """The tokens of each; what is cut off is said. Raises UsageError for a text of which there are none."""
        found = [self.processor.frame(first, second, self.longest) for first, second in texts]
        if not all(encoding.ids for encoding in found):
            raise UsageError("text: there is nothing to read: give at least one character")
        if cut := sum(bool(encoding.overflowing) for encoding in found):
            logger.warning("%s of %s texts: longer than the %s tokens the model looks at, so what comes after them is not read; shorten the text, or give its parts",
                           f"{cut:,}", f"{len(found):,}", f"{self.longest:,}")
        return found

    @torch.no_grad()
    def outputs(self, encodings: Sequence[Encoding]) -> list[dict[str, Tensor]]:
        """Everything the model gives for each text, padding cut off; texts of like length are looked at together."""
        self.architecture.eval()
        found: list[dict[str, Tensor]] = [{} for _ in encodings]
        specs = self.architecture.config.ports().gives
        order = sorted(range(len(encodings)), key=lambda i: len(encodings[i].ids))
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            given = call(self.architecture, self.processor.batch([encodings[i] for i in rows]))
            for name, spec in specs.items():
                along = spec.split()[1:3] == ["B", "T"]
                for row, i in enumerate(rows):
                    found[i][name] = given[name][row, : len(encodings[i].ids)] if along else given[name][row]
        return found
