"""Benchmarks as a metric: multiple choice by likelihood, or written answers that match exactly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core.contract import Ports
from ftheta.evaluation.benchmarks.benchmark import Benchmark, Question, read_benchmark
from ftheta.evaluation.metrics.answered import progress
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import proportion
from ftheta.inference.likelihood import ensure_continues, normalised, score_texts
from ftheta.models.model import Model
from ftheta.models.tasks.text import Prompt, TextGeneration

SHOWN = 3
"""Questions that the card shows."""


class BenchmarkMetric(Metric):
    """Share of a benchmark's questions answered right, with its exact interval, beside guessing and beside always saying the commonest answer."""

    kind: Literal["benchmark"] = "benchmark"
    which: str
    """A shipped benchmark's name (`ftheta list benchmarks`), or a YAML file."""
    limit: int | None = Field(default=None, gt=0)
    """At most this many questions, drawn by the seed; none: all."""
    shots: int | None = Field(default=None, ge=0)
    """Answered examples before every question; none: as many as the benchmark says."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B T V"}

    def misfits(self, data: Ports, model: ArchitectureConfig) -> list[str]:
        found = super().misfits(data, model)
        if not found and "causal" not in model.ports().traits:
            found = [f"evaluate: '{self.name}' asks how a text goes on, and '{model.name}' sees both sides: choose a decoder"]
        return found

    def measure(self, subject: Subject) -> Result:
        benchmark = read_benchmark(self.which)
        name = self.which.rsplit("/", 1)[-1].removesuffix(".yaml")
        questions = benchmark.questions(self.limit, benchmark.shots if self.shots is None else self.shots, subject.seed)
        answers = chosen(subject.model, benchmark, questions, name) if benchmark.choices else written(subject.model, benchmark, questions, name)
        rights = [question.right if isinstance(question.right, int) else counted(benchmark, question.right) for question in questions]
        hits = np.array([answer == right for answer, right in zip(answers, rights, strict=True)], dtype=float)
        groups = sorted({question.group for question in questions if question.group is not None})
        parts = [(name, np.ones(len(hits), bool))] + [(f"{name}, {group}", np.array([q.group == group for q in questions])) for group in groups]
        first = list(zip(questions, answers, rights, strict=True))[:SHOWN]
        shown = "\n\n---\n\n".join(f"{q.prompt}\n\nanswer: {shown_answer(q, a)}\nright:  {shown_answer(q, r)}" for q, a, r in first)
        measurements = [self.part(title, hits[here], [q for q, on in zip(questions, here, strict=True) if on], subject.seed) for title, here in parts]
        return Result(measurements, texts={f"Questions of {name}": shown})

    def part(self, title: str, hits: np.ndarray, questions: Sequence[Question], seed: int) -> Measurement:
        """The share of these questions that was answered right."""
        found = proportion(int(hits.sum()), len(hits))
        what, baselines = "exact match", {}
        if questions[0].choices:
            common = Counter(question.right for question in questions).most_common(1)[0][1]
            what = "accuracy"
            baselines = {"guessing": float(np.mean([1 / len(question.choices) for question in questions])), "always the same choice": common / len(questions)}
        return Measurement(f"{title} {what}", found.value, found.low, found.high, len(hits), "question", "higher", found.method, seed, {"value": hits}, baselines)


def shown_answer(question: Question, answer: int | str) -> str:
    return question.choices[answer] if isinstance(answer, int) else answer


def chosen(model: Model, benchmark: Benchmark, questions: Sequence[Question], name: str) -> list[int | str]:
    """The likeliest choice of every question; the first of equals."""
    answers: list[int | str] = []
    for part in progress(questions, name):
        pairs = [(question.prompt, choice) for question in part for choice in question.choices]
        scores = iter(score_texts(model.architecture, model.processor, pairs))
        for question in part:
            values = [normalised(next(scores), choice, benchmark.normalise) for choice in question.choices]
            answers.append(int(np.argmax(values)))
    return answers


def written(model: Model, benchmark: Benchmark, questions: Sequence[Question], name: str) -> list[int | str]:
    """What counts of the likeliest answer to every question."""
    task = TextGeneration(model.architecture, ensure_continues(model.architecture, model.processor))
    answers: list[int | str] = []
    for part in progress(questions, name):
        asked = [Prompt(prompt=question.prompt, most=benchmark.most, stop=benchmark.stop, temperature=0.0) for question in part]
        answers += [counted(benchmark, answer.text) for answer in task.run(asked)]
    return answers


def counted(benchmark: Benchmark, answer: str) -> str:
    """What is compared of an answer."""
    if benchmark.find is not None:
        found = list(re.finditer(benchmark.find, answer))
        answer = (found[-1][1] if found[-1].re.groups else found[-1][0]) if found else ""
    return "".join(c for c in answer if c not in benchmark.ignore).strip()
