"""The stages of a run that decide its memory and work, rehearsed: build, count, trial, steps, a look at the loss, a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ftheta.architectures.architecture import Architecture, ArchitectureConfig
from ftheta.core.contract import Batch
from ftheta.core.device import pick
from ftheta.data.stream import Stream
from ftheta.data.text import Ramp
from ftheta.lifecycle.build import build_model, build_ramp
from ftheta.lifecycle.ledger import flops_per_step
from ftheta.lifecycle.planning.heap import ShadowHeap
from ftheta.lifecycle.planning.rehearsal import Operation, Rehearsal
from ftheta.lifecycle.planning.stand_in import StandIn
from ftheta.lifecycle.recipe import Recipe
from ftheta.training.checkpoints import Checkpoints
from ftheta.training.precision import TYPES
from ftheta.training.trainer import Trainer

STEPS = 2
"""The first step makes the optimizer's state, the second shows a full one."""


@dataclass
class Rehearsed:
    """What a rehearsal found; bytes."""

    parameters: int = 0
    trainable: int = 0
    weights: int = 0
    optimizer: int = 0
    average: int = 0
    live: int = 0
    """Most that tensors held at once."""
    parts: dict[str, int] = field(default_factory=dict)
    """What they belonged to then."""
    resident: int = 0
    """Most the heap would have occupied; equal to `live` where it cannot be told."""
    staged: int = 0
    """The same, when checkpoints are written behind."""
    flops: float = 0.0
    """Of the products in forward and backward passes, one step of these rows."""
    optimizer_flops: float = 0.0
    operations: list[Operation] = field(default_factory=list)
    """Of one step."""


class Stretch:
    """A ramp held at one place."""

    def __init__(self, ramp: Ramp, progress: float):
        self.ramp = ramp
        self.progress = progress

    def __call__(self, batch: Batch, progress: float) -> Batch:
        return self.ramp(batch, self.progress)


def rehearse(
    recipe: Recipe, config: ArchitectureConfig, source: StandIn, *, precisions: Sequence[str], at: float = 1.0, looking: StandIn | None = None, steps: int = STEPS,
) -> Rehearsed:
    """Rehearse the run of this recipe on a stand-in source.

    `precisions`: those tried, the last one used. `at`: the share of the budget used, which decides how long rows are. `looking`: what
    validation and metrics look at together, without gradients.
    """
    device = pick(recipe.train.device)
    heap = ShadowHeap() if device.type == "cpu" and ShadowHeap.available() else None
    rehearsal = Rehearsal(heap)
    found = Rehearsed()
    with rehearsal, device:
        model = build_model(config, recipe.seed)
        found.parameters = sum(value.numel() for value in model.theta().values() if value.is_floating_point())
        found.trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        found.weights = rehearsal.total
        source.example = rehearsal.fakes(source.example)
        trainer = build_trainer(recipe, model, source, rehearsal, at)
        found.average = rehearsal.live.get("running average", 0)
        rehearsal.part = "activations"
        trial(trainer, recipe, source, precisions)
        with parts_told_apart(trainer, rehearsal):
            stream = Stream(source, trainer.slots, 0)
            for _ in range(steps):
                trainer.rehearsed = None
                rehearsal.operations.clear()
                trainer.step(stream)
