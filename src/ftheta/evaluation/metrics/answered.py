"""What a model answers to the examples of a test split, as text, beside what it should.

Two sorts of examples are known by their tensors: a source text with its target (translation, summaries), and a conversation whose answers are
marked as learned (what comes before each is the prompt). Answers are the likeliest ones.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import UsageError
from ftheta.core.log import logger
from ftheta.data.parallel import ParallelTexts
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Dataset
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.models.model import Model
from ftheta.models.tasks.text import TextGeneration

TOGETHER = 32
"""Examples answered in one batch."""
SECONDS = 10.0
"""Between lines that say how far it is."""
KINDS = ({"source", "tokens"}, {"tokens", "learned"})
SHOWN = 5
"""Answers that the card shows."""
T = TypeVar("T")


class Answered(NamedTuple):
    """What a model said and what it should have said."""

    said: str
    true: str


class AnswerMetric(Metric):
    """What metrics of answers in words share."""

    limit: int = Field(default=1000, gt=0)
    """At most this many test examples."""
    most: int = Field(default=128, gt=0)
    """Tokens of an answer."""
    beams: int = Field(default=1, gt=0)
    """Answers to a source text that are followed at once; 1 takes the likeliest token at every step."""

    def misfits(self, data: Ports, model: ArchitectureConfig) -> list[str]:
        if any(data.gives.keys() >= kind for kind in KINDS):
            return []
        return [f"evaluate: '{self.name}' needs test examples with an answer in words: texts with a target, or conversations"]

    @abstractmethod
    def scores(self, answers: Sequence[Answered], seed: int) -> list[Measurement]:
        """The measurements of these answers."""

    def measure(self, subject: Subject) -> Result:
        asked = (self.limit, self.most, self.beams)
        if asked not in subject.answers:
            subject.answers[asked] = answered(subject.model, split_of(subject, self.name), *asked)
        answers = subject.answers[asked]
        shown = "\n\n".join(f"said:      {answer.said}\nshould be: {answer.true}" for answer in answers[:SHOWN])
        return Result(self.scores(answers, subject.seed), texts={"Answers to test examples": shown})


def answered(model: Model, dataset: Dataset, limit: int, most: int, beams: int = 1) -> list[Answered]:
    """Answers to at most `limit` examples. Raises UsageError for examples without answers in words."""
    processor = model.processor
    names = dataset.ports.gives.keys()
    if not isinstance(processor, TextProcessor) or not any(names >= kind for kind in KINDS):
        raise UsageError(f"the test split gives {', '.join(names)}: no examples with an answer in words")
    found: list[Answered] = []
    for rows in progress(list(range(min(limit, len(dataset)))), "answering examples"):
        batch = dataset.batch(torch.tensor(rows))
        if isinstance(dataset, ParallelTexts):
            found += translated(model, dataset.texts(torch.tensor(rows)), most, beams)
        elif "source" in batch:
            sides = (("source", "source_documents"), ("tokens", "documents"))
            sources, targets = ([words(processor, *row) for row in zip(batch[name], real(batch, name, number), strict=True)] for name, number in sides)
            found += translated(model, list(zip(sources, targets, strict=True)), most, beams)
        else:
            found += continued(model, batch, most)
        if len(found) >= limit:
            break
    return found[:limit]


def progress(items: Sequence[T], what: str, together: int = TOGETHER) -> Iterator[Sequence[T]]:
    """The items in batches, with a line now and then that says how many are done."""
    last = time.monotonic()
    for start in range(0, len(items), together):
        yield items[start : start + together]
        if time.monotonic() - last > SECONDS:
            last = time.monotonic()
            logger.info("%s: %s of %s ...", what, f"{min(start + together, len(items)):,}", f"{len(items):,}")


def words(processor: TextProcessor, tokens: Tensor, keep: Tensor) -> str:
    """The text of a row's tokens (T,) that are kept."""
    return processor.decode(tokens[keep].tolist()).strip()


def real(batch: Batch, name: str, documents: str) -> Tensor:
    """Which tokens (B, T) are no padding."""
    return batch[documents] >= 0 if documents in batch else torch.ones_like(batch[name], dtype=torch.bool)


def translated(model: Model, pairs: Sequence[tuple[str, str]], most: int, beams: int) -> list[Answered]:
    """The task's answers to source texts: the first thing that an answer holds."""
    wanted: dict[str, Any] = {"most": most, "temperature": 0.0, "samples": 1, "beams": beams}
    fields = model.task.input.model_fields
    answers = model.predict([{**model.task.read(text), **{name: value for name, value in wanted.items() if name in fields}} for text, _ in pairs])
    said = [str(getattr(answer, next(iter(type(answer).model_fields)))).strip() for answer in answers]
    return [Answered(text, target.strip()) for text, (_, target) in zip(said, pairs, strict=True)]


def continued(model: Model, batch: Batch, most: int) -> list[Answered]:
    """What the model says in place of every learned stretch, given what comes before it."""
    task, found = model.task, []
    if not isinstance(task, TextGeneration):
        raise UsageError(f"this model does '{task.name}' and says nothing: choose another metric")
    end = task.processor.turn_end() if task.processor.chat_template is not None else None
    documents = batch.get("documents", torch.zeros_like(batch["tokens"]))
    for tokens, learned, document in zip(batch["tokens"], batch["learned"], documents, strict=True):
        for number in document[document >= 0].unique().tolist():
            here = document == number
            row, mask = tokens[here].tolist(), [*learned[here].tolist(), False]
            starts = [i for i, on in enumerate(mask) if on and (i == 0 or not mask[i - 1])]
            found += [(row[:i], row[i : mask.index(False, i)]) for i in starts if i]
    answers: list[Answered] = []
    for start in range(0, len(found), TOGETHER):
        part = found[start : start + TOGETHER]
        requests = [Request(prompt, Sampling(temperature=0.0), most, end=end) for prompt, _ in part]
        said = task.finish(requests)
        answers += [Answered(text.strip(), task.processor.decode(true).strip()) for text, (_, true) in zip(said, part, strict=True)]
    return answers
