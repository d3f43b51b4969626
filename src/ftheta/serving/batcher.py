"""Answers of any task for many who ask at about the same time: what comes together is run together.

The first of a batch waits for others, but not long; while a batch runs, the next one gathers by itself. Inputs may have options of their own,
since a task answers each input by itself; only the task must be the same.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ftheta.models.model import Model
from ftheta.serving.engine import QueueFull

T = TypeVar("T")
ERRAND = ""
"""What is done with the model that is no task."""


class Batcher:
    """`model.predict`, at most `together` inputs at a time, the first of which waits `wait` seconds at most; at most `queue` inputs wait."""

    def __init__(self, model: Model, together: int = 32, wait: float = 0.005, queue: int = 256):
        self.model, self.together, self.wait, self.queue = model, together, wait, queue
        self.tasks = {model.task.name: model}
        self.line: deque[tuple[str, Any, Future[Any]]] = deque()
        self.changed = threading.Condition()
        self.stopping = False
        self.answered = self.batches = 0
        self.thread = threading.Thread(target=self.work, name="ftheta-batcher", daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        return self.thread.is_alive() and not self.stopping

    def submit(self, item: Any, task: str | None = None) -> Future[Any]:
        """The answer to come; `task` is another one than the model's own. Cancelling it takes it out of the line.

        Raises ConfigError for an input or a task that does not fit, QueueFull when too many wait.
        """
        task = task or self.model.task.name
        if task not in self.tasks:
            self.tasks[task] = self.model.used_for(task)
        return self.wait_for(task, self.tasks[task].parse(item, None))

    def do(self, function: Callable[[], T]) -> Future[T]:
        """What a function gives that has the model to itself, between two batches. Raises QueueFull when too many wait."""
        return self.wait_for(ERRAND, function)

    def wait_for(self, task: str, item: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self.changed:
            if len(self.line) >= self.queue:
                raise QueueFull(f"{len(self.line)} inputs wait already, of {self.queue} at most; try again later", after=1.0)
            self.line.append((task, item, future))
            self.changed.notify()
        return future

    def work(self) -> None:
        while (batch := self.gather()) is not None:
            task = batch[0][0]
            wanted = [(parsed, future) for _, parsed, future in batch if future.set_running_or_notify_cancel()]
            if wanted:
                self.run(task, wanted)

    def gather(self) -> list[tuple[str, Any, Future[Any]]] | None:
        """The next inputs of one task; None when there will be none."""
        with self.changed:
            self.changed.wait_for(lambda: self.line or self.stopping)
            if not self.line:
                return None
            end = time.monotonic() + self.wait
            self.changed.wait_for(lambda: len(self.line) >= self.together or self.stopping, timeout=end - time.monotonic())
            task, batch, rest = self.line[0][0], [], deque()
            for item in self.line:
                (batch if item[0] == task and len(batch) < self.together else rest).append(item)
            self.line = rest
            return batch

    def run(self, task: str, wanted: list[tuple[Any, Future[Any]]]) -> None:
        self.batches += 1
        try:
            items = [item for item, _ in wanted]
            answers = [function() for function in items] if task == ERRAND else self.tasks[task].task.run(items)
        except Exception as error:
            if len(wanted) == 1:
                wanted[0][1].set_exception(error)
                return
            for each in wanted:                                                           # what is wrong with one input is no matter of the others
                self.run(task, [each])
            return
        self.answered += len(wanted)
        for (_, future), answer in zip(wanted, answers, strict=True):
            future.set_result(answer)

    def close(self) -> None:
        """Answer what waits, and stop."""
        with self.changed:
            self.stopping = True
            self.changed.notify()
        self.thread.join()
