"""What is behind a server: models by name, each with an engine where it continues texts, and a batcher otherwise; and what is counted."""

from __future__ import annotations

import bisect
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.spelling import Spelling
from ftheta.models.model import Model
from ftheta.models.tasks.text import Writing
from ftheta.serving.batcher import Batcher
from ftheta.serving.capacity import Unpaged
from ftheta.serving.engine import Asked, Engine
from ftheta.serving.http.errors import Refusal
from ftheta.serving.settings import Settings
from ftheta.serving.worker import Worker

T = TypeVar("T")
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds at which times are counted."""


class Histogram:
    """How many times were at most so long."""

    def __init__(self) -> None:
        self.counts, self.total = [0] * (len(BOUNDS) + 1), 0.0
        self.lock = threading.Lock()

    def add(self, seconds: float) -> None:
        with self.lock:
            self.counts[bisect.bisect_left(BOUNDS, seconds)] += 1
            self.total += seconds

    def lines(self, name: str, labels: str) -> list[str]:
        with self.lock:
            counts, total = list(self.counts), self.total
        found, below = [], 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
            below += count
            found.append(f'{name}_bucket{{{labels},le="{bound}"}} {below}')
        return [*found, f"{name}_sum{{{labels}}} {total:.6f}", f"{name}_count{{{labels}}} {below}"]


class Served:
    """One model under its name."""

    def __init__(self, name: str, model: Model, settings: Settings):
        self.name, self.model = name, model
        self.worker: Worker | None = None
        self.batcher: Batcher | None = None
        self.first, self.whole = Histogram(), Histogram()
        if engine := engine_for(model, settings):
            self.worker = Worker(engine)
        else:
            self.batcher = Batcher(model, settings.together, queue=settings.queue)

    @property
    def adapters(self) -> list[str]:
        """Those that can be chosen request by request."""
        return sorted(self.worker.engine.adapted.known) if self.worker is not None else []

    @functools.cached_property
    def spelling(self) -> Spelling:
        """What each of the model's tokens is."""
        assert isinstance(self.model.processor, TextProcessor)
        return self.model.processor.spelling()

    @property
    def alive(self) -> bool:
        return all(part.alive for part in (self.worker, self.batcher) if part is not None)

    def do(self, function: Callable[[], T]) -> Future[T]:
        """What a function gives that has the model to itself for that time. Raises QueueFull."""
        at_work = self.worker or self.batcher
        assert at_work is not None
        return at_work.do(function)

    def count(self, asked: Asked) -> None:
        """Note how long an answer took."""
        for sequence in asked.sequences:
            if sequence.first is not None:
                self.first.add(sequence.first - sequence.arrived)
            if sequence.ended is not None:
                self.whole.add(sequence.ended - sequence.arrived)

    def figures(self) -> dict[str, int]:
        """What there is at this moment, and what there has been."""
        if self.worker is None:
            assert self.batcher is not None
            return {"waiting": len(self.batcher.line), "answers_total": self.batcher.answered, "batches_total": self.batcher.batches}
        engine = self.worker.engine
        with engine.lock:
            return {
                "waiting": len(engine.scheduler.waiting), "running": len(engine.scheduler.running), "pages": engine.pages.count,
                "pages_used": engine.pages.count - engine.pages.available, "tokens_written_total": engine.written,
                "tokens_reused_total": engine.pages.hits, "preemptions_total": engine.scheduler.preemptions,
                "guesses_total": engine.guesses, "guesses_right_total": engine.right,
            }

    def close(self, seconds: float) -> None:
        if self.worker is not None:
            self.worker.close(seconds)
        if self.batcher is not None:
            self.batcher.close()


class Models:
    """The models of a server by name, which may come and go while it serves."""

    def __init__(self, served: Iterable[Served] = ()):
        self.named: dict[str, Served] = {}
        self.listeners: list[Callable[[Served], None]] = []
        """Told of every model that comes."""
        for each in served:
            self.add(each)

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self.named.values()))

    def add(self, served: Served) -> None:
        self.named[served.name] = served
        for tell in self.listeners:
            tell(served)

    def remove(self, name: str) -> Served | None:
        """Take a model away from those who ask; None where there is none of that name. What it is answering goes on."""
        return self.named.pop(name, None)

    def adapted(self) -> dict[str, tuple[Served, str]]:
        """`model:adapter` → both."""
        return {f"{served.name}:{adapter}": (served, adapter) for served in self for adapter in served.adapters}

    def find(self, name: str) -> tuple[Served, str | None]:
        """The model, and its adapter where the name is `model:adapter`. Raises Refusal."""
        if name in self.named:
            return self.named[name], None
        adapted = self.adapted()
        if name not in adapted:
            raise Refusal(404, f"model: there is no such model here; there are {', '.join([*self.named, *adapted])}", "model", "model_not_found")
        return adapted[name]

    def doing(self, task: str) -> Served | None:
        """The first model that does it."""
        return next((served for served in self if served.model.task.name == task), None)


def engine_for(model: Model, settings: Settings) -> Engine | None:
    """None for a model that an engine cannot serve."""
    if not isinstance(model.task, Writing):
        return None
    try:
        return Engine(model, settings)
    except Unpaged:
        return None


def name_of(place: str | Path) -> str:
    """What a model is called: its folder's name, that of the run where the folder is a run's model."""
    path = Path(place)
    return path.resolve().parent.name if path.name == "model" else path.name


def metrics(models: Models, answers: Counter[tuple[str, int]]) -> str:
    """Prometheus' text format."""
    lines = ["# TYPE ftheta_requests_total counter"]
    lines += [f'ftheta_requests_total{{route="{route}",status="{status}"}} {count}' for (route, status), count in sorted(answers.items())]
    figures = {served.name: served.figures() for served in models}
    for name in sorted({name for each in figures.values() for name in each}):
        lines.append(f"# TYPE ftheta_{name} {'counter' if name.endswith('_total') else 'gauge'}")
        lines += [f'ftheta_{name}{{model="{model}"}} {each[name]}' for model, each in figures.items() if name in each]
    for name in ("first", "whole"):
        title = {"first": "ftheta_first_token_seconds", "whole": "ftheta_answer_seconds"}[name]
        lines.append(f"# TYPE {title} histogram")
        for served in models:
            lines += getattr(served, name).lines(title, f'model="{served.name}"')
    return "\n".join(lines) + "\n"
