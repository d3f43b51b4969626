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
from ftheta.training.precision import TYPES


class DocumentMetric(Metric):
    """What metrics of -log p of unseen documents share.

    Documents are read in windows of the trained length, each starting `stride` tokens after the last and counting only tokens not
    counted yet, so every token but the first few sees at least length - stride tokens before it. Ends of documents are coded too.
    """

    stride: int | None = Field(default=None, gt=0)
    """Tokens between windows; none: half the trained length. The trained length itself gives windows that do not overlap."""
    batch: int = Field(default=16, gt=0)
    """Windows looked at together; changes nothing but speed."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type to compute in."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B T V"}

    def nats(self, subject: Subject) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The test documents, -log p of each, and how many tokens that was."""
        processor, texts = subject.model.processor, subject.texts.get("test", [])
        if not isinstance(processor, TextProcessor) or not texts:
            raise UsageError(f"{self.name} needs a text model and a test split of documents")
        architecture = subject.model.architecture
        length = architecture.room
        assert length is not None
        ids = [[*processor.encode(text), *[i for i in [processor.id("eos")] if i is not None]] for text in texts]
        before, architecture.compute_dtype = architecture.compute_dtype, TYPES[self.precision]
        found = document_nats(architecture, ids, length, self.stride or length // 2, self.batch)
        architecture.compute_dtype = before
        return list(texts), found, np.array([len(row) - 1 for row in ids], dtype=float)


class BitsPerByte(DocumentMetric):
    """Σ -log₂ p(token | before) over unseen documents, per byte of their text.

    The same number is given once more for the documents that are unlike the training documents: generated tables and copies flatter the
    first one.
    """

    kind: Literal["bits_per_byte"] = "bits_per_byte"
    alike: float | None = Field(default=0.3, gt=0, le=1)
    """A document is like training when this share of its bytes stands in lines (of 20 characters or more) that training documents hold too; none: no second number."""

    def measure(self, subject: Subject) -> Result:
        texts, nats, _ = self.nats(subject)
        bits = nats / math.log(2)
        found = [measurement("bits per byte", texts, bits, subject.seed)]
        if self.alike is not None:
            known = {line for text in subject.texts.get("train", []) for line in long_lines(text)}
            fresh = [i for i, text in enumerate(texts) if sum(len(line) for line in long_lines(text) if line in known) < self.alike * len(text)]
            if fresh and len(fresh) < len(texts):
                found.append(measurement("bits per byte, unlike training", [texts[i] for i in fresh], bits[fresh], subject.seed))
        return Result(found)


class Perplexity(DocumentMetric):
    """exp of the mean -log p(token | before) over the tokens of unseen documents. Only models with the same tokenizer compare: see bits_per_byte.

    The interval is that of the mean, its ends put through exp.
    """

    kind: Literal["perplexity"] = "perplexity"

    def measure(self, subject: Subject) -> Result:
        texts, nats, tokens = self.nats(subject)
        found = ratio(nats, tokens, subject.seed)
        value, low, high = (math.exp(end) for end in found[:3])
        return Result([Measurement(
            "perplexity", value, low, high, len(texts), "document", "lower", f"{found.method} of the mean log", subject.seed,
            baselines={"all tokens alike": float(subject.model.architecture.config.ports().sizes["V"])},
        )])


def long_lines(text: str) -> list[str]:
    """Lines long enough to say something."""
    return [line for line in text.splitlines() if len(line) >= 20]


def measurement(name: str, texts: Sequence[str], bits: np.ndarray, seed: int) -> Measurement:
    """Bits over bytes of these documents, beside what file compressors need for all of them together."""
    sizes = np.array([len(text.encode()) for text in texts], dtype=float)
    found, together = ratio(bits, sizes, seed), "".join(texts).encode()
    compressed = {"gzip -9": gzip.compress(together, 9), "xz -9e": lzma.compress(together, preset=9 | lzma.PRESET_EXTREME)}
    return Measurement(
        name, found.value, found.low, found.high, len(texts), "document", "lower", found.method, seed, {"numerator": bits, "denominator": sizes},
        {how: 8 * len(data) / len(together) for how, data in compressed.items()},
    )


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
    most: int = Field(default=120, gt=0)
    """Tokens of each continuation."""
    temperature: float = Field(default=0.7, ge=0)
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

    def exhibit(self, subject: Subject) -> Result:
        return self.measure(subject)


