"""A plan as plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftheta.lifecycle.planning.estimate import Estimate

if TYPE_CHECKING:
    from ftheta.lifecycle.plan import Plan

Line = tuple[str, str, str, str]
"""What, value, band, where it comes from."""


def table(plan: Plan) -> str:
    """Aligned columns, the verdict last."""
    lines = [*work(plan), *memory_lines(plan), *disk_lines(plan)]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    body = [f"  {what:<{widths[0]}}  {value:>{widths[1]}}  {band:<{widths[2]}}  {how}".rstrip() for what, value, band, how in lines]
    head = f"{plan.name}: {plan.model} trained with {plan.objective} on {plan.source}, {plan.device}, {plan.precision}, {plan.threads} threads"
    return "\n".join([head, "", *body, "", *(f"note: {note}" for note in plan.notes), plan.verdict])


def work(plan: Plan) -> Iterator[Line]:
    cost = plan.cost
    yield "parameters", "only a fit can tell" if plan.parameters is None else f"{plan.parameters:,}", "", "counted" if plan.parameters is not None else ""
    if plan.trainable is not None and plan.trainable != plan.parameters:
        yield "  trainable", f"{plan.trainable:,}", "", "counted"
    if plan.rows:
        passes = -(-plan.rows // plan.micro_batch)
        yield "rows in a step", f"{plan.rows:,}", "", "" if passes == 1 else f"in {passes} micro-batches of {plan.micro_batch:,}"
    if cost.steps:
        yield "steps", f"{cost.steps.value:,.0f}", band(cost.steps, plain), cost.steps.how
    for name, value in (("FLOPs per step", cost.flops_per_step), ("FLOPs", cost.flops)):
        if value:
            yield name, short(value.value), band(value, short), value.how
    if cost.optimizer_flops_per_step and cost.flops_per_step and cost.optimizer_flops_per_step > 0.01 * cost.flops_per_step.value:
        yield "  and in the optimizer", short(cost.optimizer_flops_per_step), "", "products of its step"
    for name, value in (("time of a step", cost.seconds_per_step), ("time of training", cost.seconds)):
        if value:
            yield name, duration(value.value), band(value, duration), value.how
    if cost.validation_seconds:
        yield "  and of validation", duration(cost.validation_seconds), "", "one batch timed"
    if cost.watt_hours:
        yield "energy", f"{cost.watt_hours.value:,.2g} Wh", band(cost.watt_hours, lambda value: f"{value:,.2g}"), f"at {cost.watts:,.0f} W, {cost.watts_from}"


def memory_lines(plan: Plan) -> Iterator[Line]:
    memory = plan.memory
    yield "peak memory", size(memory.peak.value), band(memory.peak, size), memory.peak.how
    for part, taken in memory.parts.items():
        yield f"  {part}", size(taken), "", PARTS.get(part, "")
    if memory.measured:
        yield "  measured peak", size(memory.measured), "", "of the process that did the real steps"


PARTS = {
    "process": "Python, torch, ftheta and their buffers, measured", "data": "what stays in memory of the data, measured", "weights": "rehearsed",
    "gradients": "those alive at the peak", "optimizer": "its state, and what its step takes in passing", "activations": "kept for the backward pass, and in passing",
    "running average": "train.average", "checkpoint copies": "written while training goes on", "holes in the heap": "between blocks, by this machine's malloc",
    "fit": "the algorithm's own",
}


def disk_lines(plan: Plan) -> Iterator[Line]:
    disk = plan.disk
    if disk:
        yield "disk", size(disk.total.value), band(disk.total, size), f"{disk.kept} checkpoints of {size(disk.checkpoint)} and a model of {size(disk.model)}"


def band(value: Estimate, write: object) -> str:
    """"(low to high)", nothing for a number without error."""
    if value.low == value.high or not callable(write):
        return ""
    return f"({write(value.low)} to {write(value.high)})"


def plain(value: float) -> str:
    return f"{value:,.0f}"


def short(value: float) -> str:
    """1,234,000,000 as 1.23 G."""
    for unit, factor in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Bytes in binary units."""
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= factor:
            number = value / factor
            return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"
    return f"{value:.0f} B"


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h" if seconds < 172800 else f"{seconds / 86400:.3g} days"
