"""Objectives over the tokens of a text that is read: a class for every token, the first and the last token of a stretch.

    tagging: -Σ_t log softmax(z_t)[tag_t]        span: -½ (log softmax(a)[first] + log softmax(b)[last])
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.contract import UNTAGGED, Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run


class Tagging(Objective):
    """Which class each token belongs to; tokens without a tag (padding, later pieces of a word) do not count."""

    kind: Literal["tagging"] = "tagging"
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Probability mass spread evenly over all classes."""

    def needs(self) -> Needs:
        return Needs(reads={"label": "label B T"}, wants={"logits": "logits B T K"}, traits={"gradients": NO_GRADIENTS})

    def learned(self, batch: Batch) -> dict[str, Tensor]:
        return {"tokens": batch["label"] != UNTAGGED}

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        logits, label = run(batch)["logits"].float(), batch["label"]
        counted = label != UNTAGGED
        logits, label = logits[counted], label[counted]
        total = F.cross_entropy(logits, label, reduction="sum", label_smoothing=self.smoothing)
        right = (logits.detach().argmax(-1) == label).sum()
        return Loss(total, len(label), {"accuracy": (right, len(label))})

    def tasks(self) -> dict[str, str]:
        return {"tokens": "token-classification"}


class Spans(Objective):
    """Where a stretch of tokens begins and ends; padding cannot be meant."""

    kind: Literal["span"] = "span"

    def needs(self) -> Needs:
        return Needs(reads={"first": "place B", "last": "place B"}, wants={"span": "logits B T 2"}, traits={"gradients": NO_GRADIENTS})

    def learned(self, batch: Batch) -> dict[str, Tensor]:
        place = torch.arange(batch["tokens"].shape[1])[None]
        return {"tokens": (batch["first"][:, None] <= place) & (place <= batch["last"][:, None])}

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        span = run(batch)["span"].float()
        if "documents" in batch:
            span = span.masked_fill(batch["documents"][:, :, None] < 0, float("-inf"))
        first, last = span.unbind(-1)
        total = (F.cross_entropy(first, batch["first"], reduction="sum") + F.cross_entropy(last, batch["last"], reduction="sum")) / 2
        right = (first.detach().argmax(-1) == batch["first"]) & (last.detach().argmax(-1) == batch["last"])
        return Loss(total, len(span), {"exact": (right.sum(), len(span))})

    def tasks(self) -> dict[str, str]:
        return {"tokens": "question-answering"}
