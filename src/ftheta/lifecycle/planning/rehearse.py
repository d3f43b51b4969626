"""The stages of a run that decide its memory and work, rehearsed: build, count, try precisions, step, look at the loss, save."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ftheta.architectures.architecture import Architecture, ArchitectureConfig
from ftheta.core.contract import Batch
from ftheta.core.device import pick
from ftheta.data.pack import Ramp
from ftheta.data.stream import Stream
from ftheta.lifecycle.build import build_ramp
from ftheta.lifecycle.companion import accompanied
from ftheta.lifecycle.ledger import flops_per_step, parameter_counts
from ftheta.lifecycle.planning.heap import ShadowHeap
from ftheta.lifecycle.planning.rehearsal import Operation, Rehearsal
from ftheta.lifecycle.planning.stand_in import StandIn
from ftheta.lifecycle.recipe import Recipe
from ftheta.models.folder import config_of
from ftheta.training.checkpoints import Checkpoints
from ftheta.training.config import Validation
from ftheta.training.precision import TYPES
from ftheta.training.trainer import Trainer

ACTIVATIONS, GRADIENTS, OPTIMIZER, AVERAGE, STAGING = "activations", "gradients", "optimizer", "running average", "checkpoint copies"
STEPS = 4
"""The first step makes the optimizer's state; the heap goes on growing for a few more."""


@dataclass
class Rehearsed:
    """What a rehearsal found; memory in bytes."""

    parameters: int = 0
    trainable: int = 0
    weights: int = 0
    optimizer: int = 0
    average: int = 0
    trained: int = 0
    """Most that tensors held at once in training steps."""
    live: int = 0
    """The same, with looks at the loss without gradients."""
    parts: dict[str, int] = field(default_factory=dict)
    """What they belonged to then."""
    resident: int = 0
    """Most that the heap would have occupied; `live` where that cannot be told."""
    saving: int = 0
    """The same once checkpoints are written behind."""
    flops: float = 0.0
    """Products in forward and backward passes of one step."""
    optimizer_flops: float = 0.0
    operations: list[Operation] = field(default_factory=list)
    """Of one step."""


def stretches(recipe: Recipe) -> list[tuple[float, float]]:
    """(share of the budget, a place in it) for every stretch of training whose rows have one length."""
    ends = [0.0, *(shorter.until for shorter in recipe.data.pack.ramp), 1.0] if recipe.data.pack else [0.0, 1.0]
    return [(end - start, start) for start, end in itertools.pairwise(ends)]


class Stretch:
    """A ramp held at one place."""

    def __init__(self, ramp: Ramp, at: float):
        self.ramp = ramp
        self.at = at

    def __call__(self, batch: Batch, progress: float) -> Batch:
        return self.ramp(batch, self.at)


def rehearse(
    recipe: Recipe, config: ArchitectureConfig, source: StandIn, precisions: Sequence[str], *, at: float = 1.0, looking: StandIn | None = None,
    full: bool = True,
) -> Rehearsed:
    """The run of a recipe on stand-in data.

    `precisions`: those tried, the last one used. `at`: the share of the budget used, which decides how long rows are. `looking`: what
    validation and metrics look at together, without gradients. Not `full`: one step, and nothing of heap, looking and saving.
    """
    device = pick(recipe.train.device)
    shadow = ShadowHeap() if full and device.type == "cpu" and ShadowHeap.available() else None
    rehearsal = Rehearsal(shadow)
    found = Rehearsed()

    def resident() -> int:
        return shadow.most if shadow else rehearsal.most

    with torch.device("meta"):
        model = config.build()
        companion = config_of(recipe.objective.companion).build() if recipe.objective.companion else None
    with rehearsal, device:
        give_fakes(model)
        if companion is not None:
            give_fakes(companion)
            companion.initialise(recipe.seed)
            object.__setattr__(companion, "to", lambda device: companion)
        objective = accompanied(recipe.objective, companion)
        model.initialise(recipe.seed)
        recipe.adapt.apply(model, recipe.seed)
        found.weights = rehearsal.total
        vars(found).update(parameter_counts(model))
        rehearsal.part = ACTIVATIONS
        for part in (source, looking):
            if part is not None:
                part.example = rehearsal.fakes(part.example)
        work = flops_per_step(model, objective, source) if full else 1.0                  # of use only for how far training has come
        object.__setattr__(model, "to", lambda device: model)                             # fakes are made where they belong, and cannot move
        rehearsal.part = AVERAGE if recipe.train.average else ACTIVATIONS
        ramp = build_ramp(recipe)
        training = recipe.train.replace(validation=Validation().dump(), early_stop=None)
        stretch = Stretch(ramp, at) if ramp else None
        trainer = Trainer(model, objective, source, training, seed=recipe.seed, ramp=stretch, validation=looking, flops_per_step=work)
        found.average = rehearsal.live.get(AVERAGE, 0)
        rehearsal.part = ACTIVATIONS
        with parts_told_apart(trainer, rehearsal):
            for precision in precisions:
                model.compute_dtype = TYPES[precision]
                if len(precisions) > 1:
                    trainer.trial()
            stream = Stream(source, trainer.slots, 0)
            for _ in range(STEPS if full else 1):
                rehearsal.forget_work()
                trainer.step(stream)
            found.flops, found.optimizer_flops = rehearsal.flops.get(ACTIVATIONS, 0.0), rehearsal.flops.get(OPTIMIZER, 0.0)
            found.operations = list(rehearsal.operations.values())
            rehearsal.forget_work()
            found.optimizer, found.trained = rehearsal.live.get(OPTIMIZER, 0), rehearsal.most
            if looking is not None:
                trainer.validate()
            found.live, found.parts, found.resident = rehearsal.most, dict(rehearsal.peak), resident()
            if not full:
                return found
            rehearsal.part = STAGING
            copies = Checkpoints(Path()).stage(trainer.state().groups)
            rehearsal.part = ACTIVATIONS
            trainer.step(stream)
            found.saving = resident()
            del copies
    return found


def step_by_step(config: ArchitectureConfig, device: torch.device) -> bool:
    """Whether the model walks along a row in many small operations, as a GRU does on a CPU: too many to rehearse for long rows."""
    with torch.device("meta"):
        model = config.build()
    return device.type == "cpu" and any(isinstance(module, nn.GRU | nn.RNN) for module in model.modules())


def drawn_out(short: Rehearsed, longer: Rehearsed, lengths: tuple[int, int], length: int) -> Rehearsed:
    """Two rehearsals with rows of `lengths` put in proportion to rows of another length; everything is affine in it."""
    share = (length - lengths[0]) / (lengths[1] - lengths[0])

    def along(a: float, b: float) -> int:
        return round(a + share * (b - a))

    numbers = {name: along(getattr(short, name), getattr(longer, name)) for name in ("trained", "live", "resident", "saving", "flops")}
    parts = {name: along(short.parts.get(name, 0), size) for name, size in longer.parts.items()}
    more = length / lengths[1]
    operations = [replace(o, count=round(o.count * more) if o.part == ACTIVATIONS else o.count) for o in longer.operations]
    return replace(longer, **numbers, parts=parts, operations=operations)


def give_fakes(model: Architecture) -> None:
    """Put tensors of the current device in place of those made on `meta`, which a module may still move about; shared ones stay shared."""
    made: dict[Tensor, Tensor] = {}
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, old in list(held.items()):
                if old is not None and old not in made:
                    new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype)
                    made[old] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new.zero_()
                if old is not None:
                    setattr(module, name, made[old])


@contextlib.contextmanager
def parts_told_apart(trainer: Trainer, rehearsal: Rehearsal) -> Iterator[None]:
    """Gradients are told from activations, and what an optimizer makes from both."""

    def gradient(parameter: Tensor) -> None:
        if parameter.grad is not None:
            rehearsal.hand_over(parameter.grad, GRADIENTS)

    def begin(*_: object) -> None:
        rehearsal.part = OPTIMIZER

    def end(*_: object) -> None:
        rehearsal.part = ACTIVATIONS

    handles = [p.register_post_accumulate_grad_hook(gradient) for p in trainer.model.parameters() if p.requires_grad]
    for optimizers in trainer.optimizers.values():
        for optimizer in optimizers:
            handles += [optimizer.register_step_pre_hook(begin), optimizer.register_step_post_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
