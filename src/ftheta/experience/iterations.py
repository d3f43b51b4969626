"""What sources share that act, then learn from what came of it several times: iterations of epochs of minibatches, in a random order.

The order of minibatches is a pure function of (seed, iteration, epoch), and acting one of (seed, iteration) and the parameters. So every
process of a data-parallel run, holding the same parameters, computes the same iteration and takes its own rows of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture
from ftheta.core.contract import Batch
from ftheta.core.errors import DataError
from ftheta.core.random import generator
from ftheta.data.source import Source

ROWS = "rollout."


class Iterations(Source):
    """Acts at the first step of every iteration, with the model as it is then; `rows` must be a multiple of `batch_size`, `what` says of what."""

    def __init__(self, rows: int, what: str, epochs: int, batch_size: int, seed: int):
        if rows % batch_size:
            raise DataError(f"train.batch is {batch_size:,}, which does not divide the {rows:,} {what}")
        self.rows = rows
        self.epochs = epochs
        self.size = batch_size
        self.seed = seed
        self.iteration = -1
        self.rollout: Batch = {}

    @abstractmethod
    def act(self, model: Architecture, iteration: int) -> Batch:
        """The tensors of one iteration, each of `rows` rows."""

    @property
    def batch_size(self) -> int:
        return self.size

    @property
    def live(self) -> bool:
        return True

    @property
    def steps_per_iteration(self) -> int:
        return self.epochs * self.rows // self.size

    def batch(self, step: int, slots: Tensor, model: Any) -> Batch:
        iteration, place = divmod(step, self.steps_per_iteration)
        if iteration > self.iteration:
            learning = model.training
            self.rollout = self.act(model, iteration)
            model.train(learning)
            self.iteration = iteration
        elif iteration < self.iteration:
            raise DataError(f"step {step:,} belongs to rollout {iteration:,}, and the model has acted since, for rollout {self.iteration:,}: "
                            "experience cannot be had again; continue from a checkpoint")
        epoch, minibatch = divmod(place, self.rows // self.size)
        order = torch.randperm(self.rows, generator=generator(self.seed, "order", iteration, epoch))
        rows = order[minibatch * self.size + slots]
        return {name: values[rows] for name, values in self.rollout.items()}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {f"{ROWS}{name}": value for name, value in self.rollout.items()}, {"iteration": self.iteration}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        self.rollout = under(ROWS, tensors)
        self.iteration = facts["iteration"]


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
