"""An engine at work in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Future
from typing import Any, TypeVar

from ftheta.models.tasks.text import Wanted
from ftheta.serving.engine import Asked, Engine, QueueFull

T = TypeVar("T")
ERRANDS = 32
"""At most so many other things that are to be done with the model wait."""
IDLE = 0.5
"""Seconds after which it looks by itself whether there is something to do."""
log = logging.getLogger("ftheta.serving")


class Worker:
    """Steps an engine as long as there is something to do. What is asked for comes from any thread."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.wake, self.stopping = threading.Event(), threading.Event()
        self.starting = threading.Lock()
        self.errands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self.thread = self.started()

    def started(self) -> threading.Thread:
        thread = threading.Thread(target=self.work, name="ftheta-engine", daemon=True)
        thread.start()
        return thread

    @property
    def alive(self) -> bool:
        return self.thread.is_alive() and not self.stopping.is_set()

    def submit(
        self, prompt: Wanted | Mapping[str, Any], *, adapter: str | None = None, client: str = "", seconds: float | None = None,
        listen: Callable[[int, str], None] | None = None,
    ) -> Asked:
        """As the engine's. A thread that has died is replaced."""
        self.ensure_started()
        asked = self.engine.submit(prompt, adapter=adapter, client=client, seconds=seconds, listen=listen)
        self.wake.set()
        return asked

    def ensure_started(self) -> None:
        with self.starting:
            if not self.thread.is_alive() and not self.stopping.is_set():
                self.thread = self.started()

    def do(self, function: Callable[[], T]) -> Future[T]:
        """What a function gives that has the model and its tokenizer to itself, between two steps. Raises QueueFull when too many wait."""
        if len(self.errands) >= ERRANDS:
            raise QueueFull(f"{ERRANDS} others wait already, the most that may; try again later", after=1.0)
        self.ensure_started()
        future: Future[T] = Future()
        self.errands.append((function, future))
        self.wake.set()
        return future

    def run_errand(self) -> bool:
        """Do what has waited longest; False where nothing waits."""
        if not self.errands:
            return False
        function, future = self.errands.popleft()
        if future.set_running_or_notify_cancel():
            try:
                with self.engine.reading:
                    future.set_result(function())
            except Exception as error:
                future.set_exception(error)
        return True

    def cancel(self, asked: Asked) -> None:
        self.engine.cancel(asked)

    def work(self) -> None:
        while not self.stopping.is_set():
            self.wake.clear()
            try:
                busy = self.run_errand() | self.engine.step()
            except Exception:                                                             # those who wait for an answer have been told
                log.exception("a step failed; what was being written is lost")
                continue
            except BaseException as error:                                                # this thread is at its end; `submit` starts another one
                self.engine.fail(RuntimeError(f"the engine has died ({type(error).__name__})"))
                log.exception("the engine has died")
                return
            if not busy:
                self.wake.wait(IDLE)

    def close(self, seconds: float = 0.0) -> None:
        """Let what is being written come to an end, for so many seconds at most, and stop; what is left is cancelled."""
        futures.wait([asked.done for asked in list(self.engine.asked.values())], timeout=seconds)
        self.stopping.set()
        self.wake.set()
        self.thread.join()
        for asked in list(self.engine.asked.values()):
            self.engine.cancel(asked)
        while self.errands:
            self.errands.popleft()[1].cancel()
