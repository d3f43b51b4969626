"""From steps, FLOPs and seconds of a step to those of a run, its energy and its disk."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.lifecycle.planning.estimate import Estimate, exact, within
from ftheta.lifecycle.planning.machine import Power
from ftheta.lifecycle.recipe import Recipe
from ftheta.training.config import TrainConfig

PROBED, TIMED = 1.25, 2.0
"""Factors by which the time of a step may be off: after real steps, and put together from single operations (benchmarks/plan.py)."""
WATTS = 2.0
"""The same for power."""
FOLDER = 1 << 20
"""Bytes of a checkpoint's or model's small files."""


class Cost(Config):
    """Work, time and energy of training; data preparation and evaluation are not counted."""

    steps: Estimate | None = None
    """Training steps; none: not known before the data has been read, or there are no steps."""
    flops_per_step: Estimate | None = None
    """Products in forward and backward passes, 2 per multiply-add."""
    optimizer_flops_per_step: float | None = None
    """Products in the optimizer, beside those."""
    flops: Estimate | None = None
    """Of all forward and backward passes."""
    seconds_per_step: Estimate | None = None
    operations_seconds: float | None = None
    """Seconds of a step as put together from single operations, before any real step."""
    seconds: Estimate | None = None
    """Of training steps, or of the fit."""
    validation_seconds: float | None = None
    """Of validation during training, where it has been timed."""
    watts: float
    watts_from: str
    watt_hours: Estimate | None = None


def step_budget(train: TrainConfig, rows: int, units: int, examples: int | None) -> float | None:
    """Steps of the budget; None for minutes and FLOPs, and for epochs of data that has not been read. Raises UsageError without a budget."""
    if train.steps:
        return train.steps
    if train.tokens:
        return math.ceil(train.tokens / (rows * units))
    if train.epochs:
        return None if examples is None else max(1, math.ceil(train.epochs * (examples // rows)))
    if train.minutes or train.flops:
        return None
    raise UsageError("train: give a budget: one of steps, epochs, tokens, minutes, flops")


def cost_of(recipe: Recipe, found: dict[str, Any], trial: dict[str, Any] | None, steps: float | None, validations: int, draw: Power) -> Cost:
    """What training costs, from a rehearsal's stretches and, where there was one, a trial's."""
    shares = [part["share"] for part in found["stretches"]]
    flops = [part["flops"] for part in found["stretches"]]
    each = trial["seconds"] if trial else [part["seconds"] for part in found["stretches"]]
    off = PROBED if trial else TIMED
    how = f"mean of {sum(trial['steps'])} real steps" if trial else "sum of the rehearsed operations, timed one by one"
    if recipe.train.flops:
        steps = max(1, round(recipe.train.flops / flops[-1]))                             # as the trainer counts: rows at full length
    minutes = recipe.train.minutes if steps is None else None
    if minutes:                                                                           # shares are of time
        counts = [60 * minutes * share / seconds for share, seconds in zip(shares, each, strict=True)]
        total: Estimate | None = within(sum(counts), off, "train.minutes by the seconds of a step")
        seconds: Estimate | None = exact(60 * minutes, "train.minutes")
    elif steps is not None:
        counts = [steps * share for share in shares]
        total = exact(steps, "the budget")
        seconds = within(sum(count * taken for count, taken in zip(counts, each, strict=True)), off, how)
    else:
        counts, total, seconds = shares, None, None
    mean = sum(count * taken for count, taken in zip(counts, each, strict=True)) / sum(counts)
    operations = sum(count * part["seconds"] for count, part in zip(counts, found["stretches"], strict=True)) / sum(counts)
    work = sum(count * one for count, one in zip(counts, flops, strict=True)) / sum(counts)
    per_step = exact(work, "counted in a rehearsal")
    looks = 0
    if trial and recipe.train.validation and validations and total:
        looks = int(total.value // recipe.train.validation.every + 1) * validations
    return Cost(
        steps=total, flops_per_step=per_step, optimizer_flops_per_step=found["stretches"][-1]["optimizer_flops"],
        flops=total.times(work, "steps by FLOPs of a step") if total else None, seconds_per_step=within(mean, off, how), operations_seconds=operations,
        seconds=seconds, validation_seconds=looks * trial["validation_batch"] if trial else None, watts=draw.watts, watts_from=draw.how,
        watt_hours=energy(seconds, draw),
    )


def saves_of(recipe: Recipe, cost: Cost) -> float:
    """Checkpoints written in a run; more than one where it cannot be told."""
    every, minutes = recipe.train.checkpoint.every, recipe.train.checkpoint.minutes
    saves = 1.0
    if every and (cost.steps is None or cost.steps.high > every):
        saves += cost.steps.value / every if cost.steps else 1
    if minutes and (cost.seconds is None or cost.seconds.high > 60 * minutes):
        saves += max(1.0, cost.seconds.value / 60 / minutes) if cost.seconds else 1
    return saves + 1 if recipe.train.early_stop and recipe.train.validation else saves


def energy(seconds: Estimate | None, draw: Power) -> Estimate | None:
    return None if seconds is None else Estimate(
        value=seconds.value * draw.watts / 3600, low=seconds.low * draw.watts / WATTS / 3600, high=seconds.high * draw.watts * WATTS / 3600,
        how="seconds by watts",
    )


class Disk(Config):
    """Bytes a run leaves behind, and needs while it runs."""

    checkpoint: int
    """One checkpoint."""
    kept: int
    """How many there are at once, the one being written included."""
    model: int
    """The model folder."""
    total: Estimate
    free: int
    """On the disk of the current folder."""

    @property
    def fits(self) -> bool:
        return self.total.high <= self.free


def disk_of(recipe: Recipe, state: int, weights: int, saves: float, steps: Estimate | None) -> Disk:
    """`state`: bytes of parameters, optimizer and average together; `saves`: checkpoints written during the run."""
    checkpoint, model = state + FOLDER, weights + FOLDER
    pinned = int(steps.value // recipe.train.checkpoint.pin_every) if steps and recipe.train.checkpoint.pin_every else 0
    best = 1 if recipe.train.validation else 0
    most = recipe.train.checkpoint.keep + best + pinned + 1
    kept = max(1, min(most, math.ceil(saves)))
    return Disk(
        checkpoint=checkpoint, kept=kept, model=model, free=shutil.disk_usage(Path.cwd()).free,
        total=Estimate(value=kept * checkpoint + model, low=checkpoint + model, high=most * checkpoint + 2 * model, how="checkpoints kept, and the model"),
    )
