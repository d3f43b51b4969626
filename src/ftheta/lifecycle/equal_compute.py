"""Runs at equal compute: what each had reached when all had used the same seconds, FLOPs or tokens.

Only quantities that mean the same are set side by side: losses of one objective on one validation split in one tokenizer, or, for
next-token losses in different tokenizers, bits per byte = loss / ln 2 · (predicted tokens of the split / bytes of the split).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftheta.lifecycle.finished import FinishedRun

AXES = ("seconds", "FLOPs", "units")
RECENT = 20
"""A training loss is the mean over the last 1/20 of the lines before it: single lines are noisy."""


@dataclass(frozen=True)
class Curve:
    """One quantity of one run while it trained; all arrays have a value for every point."""

    values: np.ndarray
    steps: np.ndarray
    axes: dict[str, np.ndarray]
    """Seconds, FLOPs (where they were counted) and units spent at each point."""


@dataclass(frozen=True)
class Point:
    """What one run had reached at the common amount of compute."""

    value: float | None
    """None: nothing had been measured yet."""
    share: float
    """Of its own budget it had used; below 1 its learning rate had not come down yet."""


@dataclass(frozen=True)
class Group:
    """Runs that may be compared while they train."""

    quantity: str
    better: str
    runs: list[FinishedRun]
    curves: list[Curve]
    unit: str | None
    """What a unit is, when it is the same for all."""
    equal: dict[str, tuple[float, list[Point]]]
    """Axis → the largest amount that all runs spent, and what each had reached then."""

    @property
    def complete(self) -> bool:
        """Whether every run had been measured by then."""
        return all(point.value is not None for _, points in self.equal.values() for point in points)


def groups_of(runs: Sequence[FinishedRun]) -> tuple[list[Group], list[str]]:
    """The groups of two or more comparable runs, and why others are not compared."""
    kinds = {run.label: kind(run) for run in runs}
    found, notes = [], []
    for identity in dict.fromkeys(kinds.values()):
        members = [run for run in runs if kinds[run.label] == identity]
        if identity is not None and len(members) > 1:
            found.append(group(members))
    silent = [run for run in runs if kinds[run.label] is None]
    for run in silent:
        reason = "losses of opposed players do not say how far training has come" if run.lines else "it is fitted by its own algorithm"
        notes.append(f"{run.label} has no curve to compare: {reason}")
    if len(set(kinds.values()) - {None}) > 1:
        firsts = list({identity: run for run, identity in reversed([(run, kinds[run.label]) for run in runs]) if identity is not None}.values())[::-1]
        notes.append(f"losses of all runs are not comparable ({'; '.join(differing(firsts))}): compare what is measured at the end, such as bits per byte")
    return found, notes


def kind(run: FinishedRun) -> tuple[str, ...] | None:
    """What a run's curve means: equal for runs whose curves may be compared; None when it has none."""
    if any(line.get("episode_return") is not None for line in run.lines):
        return "return", json.dumps(run.section("data", "source", "environment"), sort_keys=True)
    if not any(line.get("loss") is not None for line in run.lines):
        return None
    objective = run.section("objective")
    tokenizer = "" if objective.get("kind") == "next_token" else json.dumps(run.section("data", "tokenizer"), sort_keys=True)
    return "loss", str(run.data.get("fingerprint")), json.dumps(objective, sort_keys=True), tokenizer


def differing(runs: Sequence[FinishedRun]) -> list[str]:
    """Which of the things that make losses comparable differ between runs."""
    facts = {
        "data": [str(run.data.get("fingerprint"))[:8] for run in runs], "objective": [run.section("objective", "kind") for run in runs],
        "tokenizer": [str(run.section("data", "tokenizer", "kind")) for run in runs],
    }
    return [f"{name}: {', '.join(f'{run.label} {value}' for run, value in zip(runs, values, strict=True))}" for name, values in facts.items()
            if len(set(values)) > 1] or ["the objective's or tokenizer's settings differ"]


def group(runs: list[FinishedRun]) -> Group:
    """Curves of comparable runs and where they stood at equal compute: of the validation loss, else, or where that was measured too
    seldom to say, of the training loss.
    """
    if any(line.get("episode_return") is not None for line in runs[0].lines):
        return with_equal("episode return", "higher", runs, [curve(run, "episode_return") for run in runs], False)
    several = len({json.dumps(run.section("data", "tokenizer"), sort_keys=True) for run in runs}) > 1
    found = []
    for split, key, recent in (("validation", "validation_loss", 1), ("train", "loss", RECENT)):
        if all(any(line.get(key) is not None for line in run.lines) for run in runs):
            curves = [curve(run, key, recent, bits_per_byte(run.data, split) if several else 1.0) for run in runs]
            quantity = f"{'validation' if split == 'validation' else 'training'} {'bits per byte' if several else 'loss'}"
            found.append(with_equal(quantity, "lower", runs, curves, several))
    return next((made for made in found if made.complete), found[0])


def with_equal(quantity: str, better: str, runs: list[FinishedRun], curves: list[Curve], several: bool) -> Group:
    """A group with what each run had reached on every axis that all share."""
    units = {run.costs.get("unit") for run in runs}
    unit = units.pop() if len(units) == 1 and not several else None                       # tokens of two tokenizers are not the same work
    axes = [axis for axis in AXES if all(axis in one.axes for one in curves) and not (axis == "units" and unit is None)]
    return Group(quantity, better, runs, curves, unit, {axis: at_equal(axis, runs, curves) for axis in axes})


def curve(run: FinishedRun, key: str, recent: int = 1, factor: float = 1.0) -> Curve:
    """The points of metrics.jsonl that hold a value; of a training loss the mean over the lines just before, the 1/recent of them."""
    lines = [line for line in run.lines if line.get(key) is not None]
    values = np.array([line[key] for line in lines], dtype=float) * factor
    width = max(1, len(values) // recent) if recent > 1 else 1
    if width > 1:
        sums = np.concatenate([[0.0], values.cumsum()])
        ends = np.arange(1, len(values) + 1)
        starts = np.maximum(0, ends - width)
        values = (sums[ends] - sums[starts]) / (ends - starts)
    steps = np.array([line["step"] for line in lines], dtype=float)
    axes = {"seconds": np.array([line["seconds"] for line in lines], dtype=float), "units": np.array([line["units"] for line in lines], dtype=float)}
    if run.costs.get("flops_per_step"):
        axes["FLOPs"] = steps * run.costs["flops_per_step"]
    return Curve(values, steps, axes)


def bits_per_byte(account: Mapping[str, Any], split: str) -> float:
    """What turns a loss in nats per token into bits per byte: every token of a document but its first is predicted."""
    tokens, documents = account["tokens"][split], account["splits"][split]["documents"]
    return (tokens["tokens"] - documents) / tokens["bytes"] / math.log(2)


def at_equal(axis: str, runs: Sequence[FinishedRun], curves: Sequence[Curve]) -> tuple[float, list[Point]]:
    """The largest amount that every run has spent, and each run's value there, interpolated in a straight line."""
    common = min(float(one.axes[axis][-1]) for one in curves)
    points = []
    for run, one in zip(runs, curves, strict=True):
        reached = float(np.interp(common, one.axes[axis], one.values)) if common >= one.axes[axis][0] else None
        points.append(Point(reached, share_used(run, axis, common)))
    return common, points


def share_used(run: FinishedRun, axis: str, amount: float) -> float:
    """The share of a run's own budget that this amount was."""
    lines: list[dict[str, Any]] = [line for line in run.lines if line.get("progress") is not None]
    if not lines:
        return 1.0
    spent = {"seconds": [line["seconds"] for line in lines], "units": [line["units"] for line in lines],
             "FLOPs": [line["step"] * (run.costs.get("flops_per_step") or 0) for line in lines]}[axis]
    return float(np.interp(amount, spent, [line["progress"] for line in lines]))
