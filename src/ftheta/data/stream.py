"""Batches for the trainer, fetched ahead by threads where the source allows it.

A batch is a pure function of its step, so any number of workers gives the same batches in the same order.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

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
        self.pool = ThreadPoolExecutor(workers, "ftheta-data") if self.depth else None
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
