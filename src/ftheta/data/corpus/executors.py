"""Where steps are performed: in this process and others of this machine, or on a Ray cluster. Which, and how many, changes nothing in what comes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ftheta.core.errors import DataError
from ftheta.core.log import logger
from ftheta.core.memory import give_back
from ftheta.data.corpus.step import Step, found, order_of, outcome, perform, subject

Work = tuple[Step, Sequence[Path]]
Told = Callable[[str, int, int], None]
"""Hears what is being done, and how many shards of how many are."""
TRIES = 2
"""How often a step is begun whose process dies."""
SECONDS = 10.0
"""Between lines of progress."""


class Executor(ABC):
    """Performs steps that do not depend on each other."""

    def __init__(self, workers: int | None = None, told: Told | None = None):
        self.workers = workers or os.cpu_count() or 1
        self.told = told

    @abstractmethod
    def each(self, what: str, work: Sequence[Work], cache: Path) -> list[Path]:
        """The folders of these steps, in order. Raises DataError for what cannot be done; what is finished by then stays."""

    def close(self) -> None:
        """End what was started."""
        return


class Local(Executor):
    """Processes of this machine, started when there is more than one thing to do and kept until the end. Each reads orders as lines of JSON."""

    def __init__(self, workers: int | None = None, told: Told | None = None):
        super().__init__(workers, told)
        self.abandoned = False
        self.idle: SimpleQueue[Worker] = SimpleQueue()
        self.started: list[Worker] = []

    def each(self, what: str, work: Sequence[Work], cache: Path) -> list[Path]:
        folders = [found(step, inputs, cache) for step, inputs in work]
        left = [one for one, folder in zip(work, folders, strict=True) if folder is None]
        progress = Counted(what, len(left), self.told)
        if self.workers == 1 or len(left) < 2:
            if left:
                self.close()                                                              # what gathers takes the memory of those that would wait for it
            made = iter([progress.one(perform(step, inputs, cache)) for step, inputs in left])
            give_back()
        else:
            while len(self.started) < min(self.workers, len(left)):
                self.started.append(worker := Worker())
                self.idle.put(worker)
            made = iter(in_threads(lambda one: progress.one(outcome(self.perform(order_of(*one, cache)), cache)), left, len(self.started), self.abandon))
        return [next(made) if folder is None else folder for folder in folders]

    def perform(self, order: dict[str, Any]) -> dict[str, str]:
        """Have a process perform a step; another one once more if it dies."""
        for last in range(TRIES):
            worker = self.idle.get()
            try:
                return worker.perform(order)
            except BrokenPipeError as error:
                if last == TRIES - 1 or self.abandoned:
                    raise DataError(f"a process that had to {subject(order)} died {TRIES} times ({error})") from None
                logger.warning("a process that had to %s died (%s): once more", subject(order), error)
            finally:
                self.idle.put(worker)
        raise AssertionError

    def abandon(self) -> None:
        """End all processes, also in the middle of something: what is not committed was never there."""
        self.abandoned = True
        for worker in self.started:
            worker.kill()

    def close(self) -> None:
        for worker in self.started:
            worker.close()
        self.started.clear()
        self.idle = SimpleQueue()


class Worker:
    """A process that performs one step after another; when it is found dead, or has ended itself, the next order begins a new one."""

    command = (sys.executable, "-m", "ftheta.data.corpus.worker")

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def perform(self, order: dict[str, Any]) -> dict[str, str]:
        """Its answer. Raises BrokenPipeError saying how the process died."""
        if self.process is None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer.endswith(b"\n"):
            code = self.ended()
            raise BrokenPipeError(f"killed by signal {-code}, perhaps for want of memory" if code < 0 else f"exit status {code}")
        said = json.loads(answer)
        if said.pop("ended"):
            self.ended()
        return said

    def ended(self) -> int:
        """Wait for the process to end; how it did."""
        process = self.process
        assert process is not None and process.stdin is not None and process.stdout is not None
        code = process.wait()
        process.stdin.close()
        process.stdout.close()
        self.process = None
        return code

    def kill(self) -> None:
        """End the process; whoever waits for its answer is told."""
        if (process := self.process) is not None:
            process.kill()

    def close(self) -> None:
        """End it and what belongs to it, while nobody waits for an answer."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def in_threads(do: Callable[[Work], Path], work: Sequence[Work], threads: int, abandon: Callable[[], None]) -> list[Path]:
    """Do several things at a time; after the first that fails none is begun, and when this is interrupted what is being done is abandoned."""
    with ThreadPoolExecutor(threads, "ftheta-steps") as pool:
        futures = [pool.submit(do, one) for one in work]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((error for future in futures if future.done() and not future.cancelled() and (error := future.exception())), None)
        except BaseException:
            abandon()
            raise
        finally:
            for future in futures:
                future.cancel()
        if failed is not None:
            raise failed
        return [future.result() for future in futures]


class Counted:
    """Says how much is done: to who is to be told, else from time to time in the log."""

    def __init__(self, what: str, total: int, told: Told | None = None):
        self.what = what
        self.total = total
        self.told = told
        self.done = 0
        self.said = time.monotonic()
        self.lock = threading.Lock()

    def one(self, folder: Path) -> Path:
        with self.lock:
            self.done += 1
            if self.told is not None:
                self.told(self.what, self.done, self.total)
            elif time.monotonic() - self.said > SECONDS:
                self.said = time.monotonic()
                logger.info("%s: %s of %s shards", self.what, f"{self.done:,}", f"{self.total:,}")
        return folder
