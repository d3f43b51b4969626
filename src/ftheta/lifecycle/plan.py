"""`plan`: what a recipe will cost before anything runs: parameters, FLOPs, memory, disk, time and energy, each with an error band.

Memory and FLOPs come from a rehearsal: the real trainer, model, objective and optimizer run on tensors without storage, and the
blocks they would have taken are asked of the C library (planning/rehearsal.py, planning/heap.py). What a process weighs that has
loaded the libraries and the data is measured. Time comes from the rehearsed operations, each timed by itself on this machine; with
`probe`, from a few real training steps. All of this happens in processes of their own (planning/child.py): they start as a run does, and
one that runs out of memory dies alone. A recipe is said to fit only if the upper end of the band does.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core.config import Config, data_fields
from ftheta.core.device import fast_bfloat16, pick, processor_name
from ftheta.core.errors import UsageError
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import TextSource
from ftheta.experience.rollouts import RolloutsConfig
from ftheta.lifecycle.build import Data, build_data, refuse_misfits
from ftheta.lifecycle.planning.child import ask
from ftheta.lifecycle.planning.cost import Cost, Disk, cost_of, disk_of
from ftheta.lifecycle.planning.estimate import Estimate, exact
from ftheta.lifecycle.planning.fit import fitted
from ftheta.lifecycle.planning.machine import power
from ftheta.lifecycle.planning.memory import Memory, largest_micro_batch, memory
from ftheta.lifecycle.planning.stand_in import rows_in_step, units_in_row
from ftheta.lifecycle.planning.table import table
from ftheta.lifecycle.recipe import Recipe, load, source_name

RETRIES = 4
"""Times a proposed micro-batch is rehearsed and made smaller."""
SHRINK = 0.7


class Plan(Config):
    """What a recipe will cost. `dump` gives plain data, `Plan.parse` reads it back."""

    name: str
    """The recipe's."""
    model: str
    objective: str
    source: str
    device: str
    precision: str
    threads: int
    processor: str
    parameters: int | None
    """All of them once; none: only a fit can tell."""
    trainable: int | None
    """Those that training moves."""
    rows: int | None = None
    """Examples in a step."""
    micro_batch: int = 1
    """Examples in one pass."""
    largest_micro_batch: int | None = None
    """Most examples in one pass that fit, at most `rows`; none where there are no passes."""
    cost: Cost
    memory: Memory
    disk: Disk | None = None
    probed_steps: int = 0
    """Real steps that were made."""
    fits: bool
    """Whether memory suffices, at the upper end of its band."""
    verdict: str
    notes: tuple[str, ...] = ()

    def show(self) -> str:
        return table(self)


def show(plan: Plan) -> str:
    """The plan as plain text, its verdict last."""
    return table(plan)


def plan(
    recipe: str | Path | Mapping[str, Any], *, changes: Sequence[str] | Mapping[str, Any] = (), probe: bool = True, probe_steps: int = 20, probe_seconds: float = 60.0,
) -> Plan:
    """What a recipe will cost. With `probe`, data is prepared as a run would (and kept for it), and a few real steps are made.

    Raises ConfigError and DataError as a run would.
    """
    parsed = load(recipe, changes)
    refuse_misfits(parsed)
    data = build_data(parsed) if probe or must_read(parsed) else None
    if data is not None:
        refuse_misfits(parsed, data.ports)
    config = parsed.architecture(data.ports.sizes if data else parsed.data.ports().sizes, stand_in=True)
    if "closed_form" in config.ports().traits:
        return plan_fit(parsed, config, data, probe)
    return plan_training(parsed, config, data, probe_steps if probe else 0, probe_seconds)


def must_read(recipe: Recipe) -> bool:
    """Whether sizes can only be had from the data, or the data is at hand anyway."""
    unknown = [letter for letter in data_fields(type(recipe.architecture({}, stand_in=True))).values() if letter not in recipe.data.ports().sizes]
    return bool(unknown) or not isinstance(recipe.data.source, TextSource | RolloutsConfig)


def plan_training(recipe: Recipe, config: ArchitectureConfig, data: Data | None, probe_steps: int, probe_seconds: float) -> Plan:
    """A model that learns by gradients: rehearsed, then tried if it fits."""
    device, rows, units = pick(recipe.train.device), rows_in_step(recipe, data), units_in_row(recipe)
    micro = min(recipe.train.micro_batch or rows, rows)
    validation = data.splits.get("validation") if data and recipe.train.validation else None
    examples = len(data.splits["train"]) if data and "train" in data.splits else None
    question: dict[str, Any] = {
        "recipe": recipe.dump(), "read": data is not None, "rows": rows, "micro": micro, "looking": looking(recipe, rows, data), "precisions": precisions(recipe, device),
    }
    found = ask("rehearse", question)
    steps = step_budget(recipe.train, rows, units, examples)
    notes: list[str] = [] if data else ["the data has not been read: its memory and, where the budget is in epochs, the number of steps are not known"]

    def estimated(trial: dict[str, Any] | None) -> tuple[Cost, Memory, float]:
        looks = 0 if validation is None or recipe.train.validation is None else min(recipe.train.validation.batches, max(1, len(validation) // rows))
        cost = cost_of(recipe, found, trial, steps, looks, power(device, found["threads"]))
        saves = saves_of(recipe, cost)
        behind = recipe.train.checkpoint.asynchronous and saves > 1
        return cost, memory(recipe, found, rows, behind, device, trial["peak"] if trial else None), saves

    cost, needed, saves = estimated(None)
    trial: dict[str, Any] | None = None
    if probe_steps and needed.fits:
        try:
            trial = ask("steps", {"recipe": recipe.dump(), "count": probe_steps, "seconds": probe_seconds})
        except MemoryError as error:
            needed = needed.model_copy(update={"measured": needed.free})
            notes.append(f"{error}: memory ran out, although {needed.peak.value / 2**30:.3g} GiB were expected")
    if trial:
        if trial["precision"] != question["precisions"][-1]:
            question["precisions"] = [*question["precisions"], trial["precision"]]
            found = ask("rehearse", question)
        cost, needed, saves = estimated(trial)
        if needed.measured and needed.measured > needed.peak.high:
            notes.append("the real steps took more memory than rehearsed; the verdict goes by what was measured")
    largest = most_rows(question, found, needed)
    pinned = int(cost.steps.value // recipe.train.checkpoint.pin_every) if cost.steps and recipe.train.checkpoint.pin_every else 0
    disk = disk_of(recipe, found["weights"] + found["optimizer"] + found["average"], found["weights"], saves, pinned)
    if not disk.fits:
        notes.append("the disk of this folder has less room than checkpoints and model may need")
    if needed.reading * PROCESS_BAND[1] > needed.peak.high:
        notes.append("continuing from a checkpoint takes more memory than training does")
    coupled = "batch_coupled" in config.ports().traits
    return Plan(
        name=recipe.name, model=config.name, objective=recipe.objective.name, source=source_name(recipe.data.source), device=str(device),
        precision=trial["precision"] if trial else question["precisions"][-1], threads=found["threads"], processor=processor_name(),
        parameters=found["parameters"], trainable=found["trainable"], rows=rows, micro_batch=micro, largest_micro_batch=largest, cost=cost, memory=needed, disk=disk,
        probed_steps=sum(trial["steps"]) if trial else 0, fits=needed.fits, verdict=verdict(needed, largest, coupled), notes=tuple(notes),
    )


def precisions(recipe: Recipe, device: torch.device) -> list[str]:
    """Those training will try, the one it will probably use last."""
    if recipe.train.precision != "auto":
        return [recipe.train.precision]
    if isinstance(recipe.data.source, RolloutsConfig):
        return ["float32"]
    return ["float32", "bfloat16"] if fast_bfloat16(device) else ["bfloat16", "float32"]


def looking(recipe: Recipe, rows: int, data: Data | None) -> int:
    """Rows that validation or a metric look at together; 0 when nothing does."""
    validated = rows if recipe.train.validation and (data is None or "validation" in data.splits) else 0
    return max([validated, *(getattr(metric, "batch", 0) for metric in recipe.evaluate)])


def saves_of(recipe: Recipe, cost: Cost) -> float:
    """Checkpoints written in a run, more than one when it cannot be told."""
    every, minutes = recipe.train.checkpoint.every, recipe.train.checkpoint.minutes
    saves = 1.0
    if every and (cost.steps is None or cost.steps.high > every):
        saves += cost.steps.value / every if cost.steps else 1
    if minutes and (cost.seconds is None or cost.seconds.high > 60 * minutes):
        saves += cost.seconds.value / 60 / minutes if cost.seconds else 1
    if recipe.train.early_stop and recipe.train.validation:
        saves += 1
    return saves


def most_rows(question: dict[str, Any], found: dict[str, Any], needed: Memory) -> int:
    """The largest micro-batch that fits: proposed from two rehearsals; where this recipe's own does not fit, rehearsed."""
    rows, micro = question["rows"], question["micro"]
    largest = largest_micro_batch(found, micro, rows, needed.free)
    if needed.fits:
        return max(largest, micro)
    largest = min(largest, micro - 1)
    for _ in range(RETRIES):
        if not largest:
            return 0
        there = ask("rehearse", {**question, "micro": largest, "seconds": 0.0})
        if memory_of(there) <= needed.free:
            return largest
        largest = int(largest * SHRINK)
    return 0
