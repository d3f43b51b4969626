"""Metrics over text: bits per byte beside file compressors, and samples to read."""

from __future__ import annotations

import gzip
import lzma
import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from ftheta.architectures.architecture import Architecture
from ftheta.core.errors import UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import ratio
from ftheta.models.tasks.text import Prompt, TextGeneration


class BitsPerByte(Metric):
    """Σ -log₂ p(token | before) over unseen documents, per byte of their text; ends of documents are coded too.

    Documents are read in windows of the trained length, each starting `stride` tokens after the last and counting only tokens not
    counted yet, so every token but the first few sees at least length - stride tokens before it.
    """

    kind: Literal["bits_per_byte"] = "bits_per_byte"
    stride: int | None = Field(None, gt=0)
    """Tokens between windows; none: half the trained length. The trained length itself gives windows that do not overlap."""
    batch: int = Field(16, gt=0)
    """Windows looked at together; changes nothing but speed."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type to compute in."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B T V"}

    def measure(self, subject: Subject) -> Result:
        processor, texts = subject.model.processor, subject.texts.get("test", [])
        if not isinstance(processor, TextProcessor) or not texts:
            raise UsageError("bits_per_byte needs a text model and a test split of documents")
        architecture = subject.model.architecture
        length = architecture.config.ports().sizes["T"]
        architecture.compute_dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        ids = [[*processor.encode(text), *[i for i in [processor.id("<eos>")] if i is not None]] for text in texts]
        nats = document_nats(architecture, ids, length, self.stride or length // 2, self.batch)
        sizes = np.array([len(text.encode()) for text in texts], dtype=float)
        found = ratio(nats / math.log(2), sizes, subject.seed)
        together = "".join(texts).encode()
        baselines = {
            "gzip -9": 8 * len(gzip.compress(together, 9)) / len(together),
            "xz -9e": 8 * len(lzma.compress(together, preset=9 | lzma.PRESET_EXTREME)) / len(together),
        }
        return Result([Measurement(
            "bits per byte", found.value, found.low, found.high, len(texts), "document", "lower", found.method, subject.seed,
            {"numerator": nats / math.log(2), "denominator": sizes}, baselines,
        )])


@torch.no_grad()
def document_nats(model: Architecture, documents: Sequence[Sequence[int]], length: int, stride: int, batch: int) -> np.ndarray:
    """-log p of each document's tokens after its first, in nats; windows of equal size are looked at together, never padded."""
    model.eval()
    totals = np.zeros(len(documents))
    groups: dict[int, list[tuple[int, Sequence[int], int]]] = {}
    for number, ids in enumerate(documents):
        for window, fresh in windows(ids, length, stride):
            groups.setdefault(len(window), []).append((number, window, fresh))
    for group in groups.values():
        for start in range(0, len(group), batch):
            part = group[start : start + batch]
            tokens = torch.tensor([window for _, window, _ in part])
            hidden = model(tokens=tokens[:, :-1])["hidden"]
            for row, (number, _, fresh) in enumerate(part):
                loss = model.head.loss(hidden[row, -fresh:], tokens[row, -fresh:])        # type: ignore[operator, union-attr]
                totals[number] += float(loss)
    return totals


def windows(ids: Sequence[int], length: int, stride: int) -> Iterator[tuple[Sequence[int], int]]:
    """Pieces of at most length + 1 tokens and how many of their last tokens are counted; every token but the first counts once."""
    counted = 1
    while counted < len(ids):
        end = min(len(ids), max(length + 1, counted + stride) if counted == 1 else counted + stride)
        yield ids[max(0, end - length - 1) : end], end - counted
        counted = end


class Samples(Metric):
    """Continuations of a few prompts, to read."""

    kind: Literal["samples"] = "samples"
    prompts: tuple[str, ...] = ("",)
    """What to continue."""
    most: int = Field(120, gt=0)
    """Tokens of each continuation."""
    temperature: float = Field(0.7, ge=0)
    """Divides the logits; 0 takes the likeliest token."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B T V"}

    def measure(self, subject: Subject) -> Result:
        task = subject.model.task
        if not isinstance(task, TextGeneration):
            raise UsageError("samples needs a model that continues text")
        texts = {}
        for prompt in self.prompts:
            answer = task.answer(Prompt(prompt=prompt, most=self.most, temperature=self.temperature, seed=subject.seed))
            texts[f"continuation of {prompt!r}"] = prompt + answer.text
        return Result(texts=texts)


