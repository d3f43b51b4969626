"""`plan`: what a recipe will cost before anything runs: parameters, FLOPs, memory, disk, time and energy, each with an error band.

Memory and FLOPs come from a rehearsal: the real trainer, model, objective and optimizer run on tensors without storage, and the
blocks they would have taken are asked of the C library (planning/rehearsal.py, planning/heap.py). What a process weighs that has
loaded the libraries and the data is measured. Time comes from the rehearsed operations, each timed by itself on this machine; with
`probe`, from a few real training steps. All of this happens in processes of their own (planning/child.py): they start as a run does, and
one that runs out of memory dies alone. A recipe is said to fit only if the upper end of the band does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core.config import Config, data_fields
from ftheta.core.device import fast_bfloat16, pick, processor_name
from ftheta.data.sources.source_config import Prepared, source_name
from ftheta.data.text import TextSource
from ftheta.experience.experience import ExperienceConfig
from ftheta.experience.rollouts import RolloutsConfig
from ftheta.lifecycle.build import build_data, refuse_misfits
from ftheta.lifecycle.planning.child import ask
from ftheta.lifecycle.planning.cost import Cost, Disk, cost_of, disk_of, saves_of, step_budget
from ftheta.lifecycle.planning.fit import fit_cost, fit_memory, tried
from ftheta.lifecycle.planning.machine import power
from ftheta.lifecycle.planning.memory import PROCESS_BAND, Memory, largest_micro_batch, memory_of
from ftheta.lifecycle.planning.stand_in import rows_in_step, units_in_row
from ftheta.lifecycle.planning.table import size, table
from ftheta.lifecycle.recipe import Recipe, load

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


def plan_training(recipe: Recipe, config: ArchitectureConfig, data: Prepared | None, probe_steps: int, probe_seconds: float) -> Plan:
    """A model that learns by gradients: rehearsed, then tried if it fits."""
    device, rows = pick(recipe.train.device), rows_in_step(recipe, data)
    micro = min(recipe.train.micro_batch or rows, rows)
    question: dict[str, Any] = {
        "recipe": recipe.dump(), "read": data is not None, "rows": rows, "micro": micro, "looking": looking(recipe, rows, data), "precisions": precisions(recipe, device),
    }
    steps = step_budget(recipe.train, rows, units_in_row(recipe), len(data.splits["train"]) if data and data.splits else None)
    looks = validation_batches(recipe, data, rows)
    found = ask("rehearse", question)
    draw = power(device, found["threads"])
    cost = cost_of(recipe, found, None, steps, looks, draw)
    needed = memory_of(recipe, found, rows, saves_of(recipe, cost), device)
    notes = [] if data else ["the data has not been read, so its memory is left out" + (", and the steps of the budget are not known" if recipe.train.epochs else "")]
    trial: dict[str, Any] | None = None
    if probe_steps and needed.fits:
        try:
            trial = ask("steps", {"recipe": recipe.dump(), "count": probe_steps, "seconds": probe_seconds})
        except MemoryError as error:
            notes.append(f"{error}: memory ran out where it was expected to do")
            needed = needed.model_copy(update={"measured": needed.limit})
    if trial:
        if trial["precision"] != question["precisions"][-1]:
            question["precisions"] = [*question["precisions"], trial["precision"]]
            found = ask("rehearse", question)
        cost = cost_of(recipe, found, trial, steps, looks, draw)
        needed = memory_of(recipe, found, rows, saves_of(recipe, cost), device, trial["peak"])
    largest = most_rows(question, found, needed, lambda other: memory_of(recipe, other, rows, saves_of(recipe, cost), device))
    disk = disk_of(recipe, found["weights"] + found["optimizer"] + found["average"], found["weights"], saves_of(recipe, cost), cost.steps)
    notes += remarks(found, needed, disk, "batch_coupled" in config.ports().traits)
    return Plan(
        name=recipe.name, model=config.name, objective=recipe.objective.name, source=source_name(recipe.data.source), processor=processor_name(),
        device=str(device), precision=question["precisions"][-1], threads=found["threads"],
        parameters=found["parameters"],
        trainable=found["trainable"], rows=rows, micro_batch=micro, largest_micro_batch=largest, cost=cost, memory=needed, disk=disk,
        probed_steps=sum(trial["steps"]) if trial else 0, fits=needed.fits, verdict=verdict(needed, largest), notes=tuple(notes),
    )


def plan_fit(recipe: Recipe, config: ArchitectureConfig, data: Prepared | None, probe: bool) -> Plan:
    """A model that is fitted by its own algorithm."""
    assert data is not None
    weighed = ask("weigh", {"recipe": recipe.dump()})
    found = tried(recipe) if probe else None
    needed = fit_memory(found, weighed)
    whole = found is not None and found["rows"] == found["examples"]
    notes = ["what the algorithm does cannot be rehearsed: FLOPs are not known" + ("" if whole else ", and the rest is a guess")]
    return Plan(
        name=recipe.name, model=config.name, objective=recipe.objective.name, source=source_name(recipe.data.source), processor=processor_name(),
        device="cpu", precision="float64", threads=weighed["threads"], parameters=found["parameters"] if found and whole else None, trainable=None,
        cost=fit_cost(found, power(torch.device("cpu"), weighed["threads"])), memory=needed, fits=needed.fits, verdict=verdict(needed, None), notes=tuple(notes),
    )


def precisions(recipe: Recipe, device: torch.device) -> list[str]:
    """Those training will try, the one it will probably use last."""
    if recipe.train.precision != "auto":
        return [recipe.train.precision]
    if isinstance(recipe.data.source, ExperienceConfig):
        return ["float32"]
    return ["float32", "bfloat16"] if fast_bfloat16(device) else ["bfloat16", "float32"]


def looking(recipe: Recipe, rows: int, data: Prepared | None) -> int:
    """Rows that validation or a metric look at together; 0 when nothing does."""
    validated = rows if recipe.train.validation and (data is None or "validation" in data.splits) else 0
    return max([validated, *(getattr(metric, "batch", 0) for metric in recipe.evaluate)])


def validation_batches(recipe: Recipe, data: Prepared | None, rows: int) -> int:
    """Of one validation."""
    if data is None or recipe.train.validation is None or "validation" not in data.splits:
        return 0
    held = len(data.splits["validation"])
    return min(recipe.train.validation.batches, held // min(rows, held))


def most_rows(question: dict[str, Any], found: dict[str, Any], needed: Memory, memory: Callable[[dict[str, Any]], Memory]) -> int:
    """The largest micro-batch that fits, proposed from two rehearsals; where the recipe's own does not, rehearsed itself."""
    rows, micro = question["rows"], question["micro"]
    largest = largest_micro_batch(found, micro, rows, needed.free)
    if needed.fits:
        return max(largest, micro)
    largest = min(largest, micro - 1)
    for _ in range(RETRIES):
        if not largest or memory(ask("rehearse", {**question, "micro": largest, "timing": 0.0})).fits:
            break
        largest = int(largest * SHRINK)
    else:
        return 0
    return largest


def remarks(found: dict[str, Any], needed: Memory, disk: Disk, coupled: bool) -> list[str]:
    """What a reader should know beside the numbers."""
    notes = []
    if found["live"] > found["trained"]:
        notes.append("memory is highest when validation or a metric looks at a whole batch, which micro-batches do not divide: choose a smaller batch to lower it")
    if needed.reading * PROCESS_BAND[1] > needed.peak.high:
        notes.append(f"continuing from a checkpoint takes more memory than training: {size(needed.reading)}")
    if needed.measured and needed.measured > needed.peak.high:
        notes.append("the real steps took more memory than rehearsed; the verdict goes by what was measured")
    if coupled:
        notes.append("batch norm couples the rows of a batch, so the whole batch is one micro-batch")
    if not disk.fits:
        notes.append(f"checkpoints and model may need {size(disk.total.high)}, and this folder's disk has {size(disk.free)}")
    return notes


def verdict(memory: Memory, largest: int | None) -> str:
    """Whether it fits, how much it takes at most and the largest micro-batch that does."""
    micro = "" if largest is None else f"; largest micro-batch that does: {largest:,}" + ("" if largest else " (not even one row does: choose a smaller model or shorter rows)")
    if memory.fits:
        return f"fits: takes at most {size(memory.needed)} of the {size(memory.free)} that are free" + micro
    there = f"only {size(memory.free)} are there" if memory.needed > memory.limit else f"of this machine's {size(memory.limit)} only {size(memory.free)} are free now"
    return f"does not fit: may take {size(memory.needed)}, and {there}" + micro
