"""Batches for the trainer, fetched ahead by threads where the source allows it.

A batch is a pure function of its step, so any number of workers gives the same batches in the same order.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ftheta.core.contract import Batch
from ftheta.data.source import Source

AHEAD = 2
"""Batches each worker keeps ready."""


class Stream:
    """This process's slots of every step's batch; counts the seconds the trainer waited for them."""

    def __init__(self, source: Source, slots: Tensor, workers: int):
        self.source = source
        self.slots = slots
        self.waited = 0.0
        self.depth = 0 if source.live else workers * AHEAD
        self.pool = ThreadPoolExecutor(workers, "ftheta-data", compute_alone) if self.depth else None
        self.coming: dict[int, Future[Batch]] = {}

    def get(self, step: int, model: Any) -> Batch:
        """The batch of one step."""
        start = time.perf_counter()
        if self.pool is None:
            batch = self.source.batch(step, self.slots, model)
        else:
            for ahead in range(step, step + self.depth + 1):
                if ahead not in self.coming:
                    self.coming[ahead] = self.pool.submit(self.source.batch, ahead, self.slots, None)
            for old in [number for number in self.coming if number < step]:
                del self.coming[old]
            batch = self.coming.pop(step).result()
        self.waited += time.perf_counter() - start
        return batch

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
            torch.set_num_threads(torch.get_num_threads())                                # for threads to come: what a thread sets is also theirs


def compute_alone() -> None:
    """This thread computes without the help of others. They would wait for its next operation, and where a process has more such threads than there are
    processors libgomp puts those of the trainer to sleep after each of its operations, too: 3 µs of a small one become 70 (`python -m benchmarks.load`).
    """
    torch.set_num_threads(1)
