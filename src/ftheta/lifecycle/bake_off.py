"""`compare RECIPE`: the same task in several ways to go on from one start, each at the same cost of training.

Every arm is a run of the recipe with another adaptation. The costliest step's arm gets the recipe's budget, the others as many steps as give
the same FLOPs; a budget of minutes is the same for all. Run again it continues.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftheta.adaptation.prompting import Prompting
from ftheta.core.atomic import write_file, write_json
from ftheta.core.catalog import numbered
from ftheta.core.errors import UsageError
from ftheta.core.log import logger
from ftheta.data.stages import digest
from ftheta.lifecycle.bake_off_picture import picture
from ftheta.lifecycle.build import build_data, build_source, refuse_misfits, starting_model
from ftheta.lifecycle.card import number
from ftheta.lifecycle.companion import build_objective
from ftheta.lifecycle.compare import ARROWS, Pairing, amount, measured, pairing, sentence, table
from ftheta.lifecycle.finished import FinishedRun, read_runs
from ftheta.lifecycle.forgetting import HeldOut, held_out
from ftheta.lifecycle.ledger import flops_per_step
from ftheta.lifecycle.lifecycle import run
from ftheta.lifecycle.recipe import Arm, Recipe, load
from ftheta.models.folder import load as load_model
from ftheta.training.config import BUDGETS
from ftheta.training.events import Listener
from ftheta.training.trainer import Trainer

USUAL = ("prompting", "probe", "lora", "full")
"""The arms of a recipe that names none."""


@dataclass(frozen=True)
class BakeOff:
    """What came of every arm."""

    runs: list[FinishedRun]
    forgotten: dict[str, dict[str, Any]]
    """Bits per byte of held-out text with its interval: `start`, and after each arm; empty when it could not be measured."""
    pairings: list[Pairing]
    notes: list[str]
    picture: Path

    def show(self) -> str:
        return show(self)


def bake_off(
    recipe: str | Path | Mapping[str, Any], *, arms: Sequence[str] = (), changes: Sequence[str] | Mapping[str, Any] = (), out: str | Path | None = None,
    text: str | Path | None = None, listeners: Sequence[Listener] = (),
) -> BakeOff:
    """Run every arm of a recipe and measure what it gained, forgot and cost. `text` is held-out text for the start; none: its own test split.

    Raises UsageError, ConfigError and what `run` raises.
    """
    parsed = load(recipe, changes)
    chosen = named([Arm.parse({"adapt": arm}) for arm in arms] or list(parsed.arms or ()) or [Arm.parse({"adapt": arm}) for arm in USUAL])
    if parsed.start is None:
        raise UsageError("a bake-off compares ways to go on from a model: say which one with `start: FOLDER`")
    if not parsed.evaluate:
        raise UsageError("evaluate: there is nothing to compare the arms by: say what is measured, such as [accuracy]")
    recipes = {name: of_arm(parsed, arm, name) for name, arm in chosen.items()}
    for one in recipes.values():
        refuse_misfits(one)
    folder = Path(out) if out is not None else Path("runs") / f"{parsed.name}-arms"
    folder.mkdir(parents=True, exist_ok=True)
    budgets = budget(folder, recipes)
    for name, one in recipes.items():
        logger.info("arm %s ...", name)
        run_arm(one, budgets[name], folder / name, listeners)
    runs = read_runs([folder / name for name in recipes])
    notes, forgotten = [], dict[str, dict[str, Any]]()
    try:
        forgotten = forgetting(folder, parsed, runs, held_out(parsed.start, text))
    except UsageError as error:
        notes.append(f"forgetting was not measured: {error}")
    first = next(iter(runs[0].measurements))
    pairings = [pairing(first, a, b) for i, a in enumerate(runs) for b in runs[i + 1 :]]
    place = folder / "bake-off.png"
    write_file(place, picture(runs, forgotten))
    return BakeOff(runs, forgotten, pairings, notes, place)


def named(arms: Sequence[Arm]) -> dict[str, Arm]:
    """Arms by the name of their adaptation."""
    return dict(zip(numbered([arm.adapt.name for arm in arms]), arms, strict=True))


def run_arm(recipe: Recipe, steps: int | None, out: Path, listeners: Sequence[Listener]) -> None:
    """Make the run of an arm, or go on with it, in so many steps; None: by the recipe's own budget."""
    train = {**recipe.train.dump(), **({**dict.fromkeys(BUDGETS), "steps": steps} if steps else {})}
    fields = recipe.replace(train=train).dump()
    if recipe.start is not None:
        fields["data"]["tokenizer"] = None                                                # the start's, as in the recipe
    run(fields, out=out, listeners=listeners)


def of_arm(recipe: Recipe, arm: Arm, name: str) -> Recipe:
    """The recipe of one arm."""
    train = recipe.train.dump()
    if arm.rate is not None:
        train["optimizer"] = {**train["optimizer"], "rate": arm.rate}
    return recipe.replace(name=f"{recipe.name}-{name}"[:80], adapt=arm.adapt.dump(), arms=None, train=train)


def budget(folder: Path, recipes: Mapping[str, Recipe]) -> dict[str, int | None]:
    """Steps of every arm that give the same FLOPs; None where the recipe's own budget counts: minutes, or no training. Worked out once."""
    place, key = folder / "budgets.json", digest([recipe.dump() for recipe in recipes.values()])
    if place.exists() and (known := json.loads(place.read_text()))["recipes"] == key:
        return known["steps"]
    trained = {name: recipe for name, recipe in recipes.items() if not isinstance(recipe.adapt, Prompting) and not recipe.train.minutes}
    costs, whole = dict[str, float](), dict[str, int]()
    for name, recipe in trained.items():
        data = build_data(recipe)
        model, source, objective = starting_model(recipe, data.ports.sizes), build_source(recipe, data), build_objective(recipe, data.processor)
        costs[name] = flops_per_step(model, objective, source)
        whole[name] = Trainer(model, objective, source, recipe.train, seed=recipe.seed, flops_per_step=costs[name]).total_steps() or 1
    most = max((costs[name] * whole[name] for name in trained), default=0.0)
    steps = {name: max(1, round(most / costs[name])) if name in trained else None for name in recipes}
    write_json(place, {"recipes": key, "flops": most, "flops_per_step": costs, "steps": steps})
    return steps


def forgetting(folder: Path, recipe: Recipe, runs: Sequence[FinishedRun], kept: HeldOut) -> dict[str, dict[str, Any]]:
    """Bits per byte of the held-out text for the start and after every arm; what has been measured is not measured again."""
    place, key = folder / "forgetting.json", digest([recipe.start, kept.texts])
    known: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    found = known["found"] if known.get("text") == key else {}
    for name, model in {"start": recipe.start, **{one.label: one.folder for one in runs}}.items():
        if name not in found:
            logger.info("forgetting: %s ...", name)
            seen = kept.bits_per_byte(load_model(str(model)).architecture, recipe.seed)
            limits = (seen.low, seen.high) if math.isfinite(seen.high - seen.low) else (None, None)      # of a single document there are none
            found[name] = {"value": seen.value, "low": limits[0], "high": limits[1]}
            write_json(place, {"text": key, "found": found})
    return found


def show(result: BakeOff) -> str:
    """The arms as a plain table."""
    runs = result.runs
    rows: list[tuple[str, list[str]] | str] = [("", [one.label for one in runs]), "results (95 % intervals)"]
    for name in dict.fromkeys(name for one in runs for name in one.measurements):
        entries = [one.measurements.get(name) for one in runs]
        better = next(entry["better"] for entry in entries if entry)
        rows.append((f"{name} ({ARROWS[better]})" if ARROWS[better] else name, [measured(entry) for entry in entries]))
    if result.forgotten:
        before = result.forgotten["start"]["value"]
        after = [result.forgotten[one.label]["value"] for one in runs]
        rows += ["bits per byte of the start's text (lower is better)", ("before", [number(before)] * len(runs)), ("after", [number(value) for value in after])]
    rows.append("cost")
    for label, key, unit in (("trainable parameters", "trainable", 1), ("steps", "step", 1), ("FLOPs", "flops", 1), ("seconds", "seconds", 1),
                             ("peak memory, MB", "peak_memory", 1e6)):
        values = [one.costs.get(key) for one in runs]
        rows.append((label, [amount(None if value is None else value / unit if unit > 1 else value) for value in values]))
    text = [table(rows), "\n  ".join(["differences on the same units (95 % intervals, each comparison by itself)", *map(sentence, result.pairings)])]
    asked = [f"{one.label} asked: {one.costs['prompting']['template']!r}" for one in runs if "prompting" in one.costs]
    if notes := [*result.notes, *asked]:
        text.append("\n  ".join(["notes", *notes]))
    return "\n\n".join([*text, f"picture: {result.picture}"])
