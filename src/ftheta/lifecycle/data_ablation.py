"""`data ablate`: what each cleaning rule and each way of de-duplication does to the model that is trained on what it leaves.

Every arm is the recipe without one of them (or with one more), trained at the cost of the recipe as it is, several times with other seeds.
All are measured on the same held-out documents, in the text that the recipe as it is makes of them (see `held_text`). Run again it continues.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ftheta.core.atomic import write_file, write_json
from ftheta.core.catalog import numbered
from ftheta.core.errors import DataError, UsageError, suggest
from ftheta.core.log import logger
from ftheta.data.clean import RULES
from ftheta.data.dedup import DEDUPLICATIONS
from ftheta.data.split import Split
from ftheta.data.stages import digest
from ftheta.data.text import PreparedText
from ftheta.evaluation.bars import bars
from ftheta.evaluation.metrics.language import BitsPerByte
from ftheta.evaluation.metrics.metric import Subject
from ftheta.evaluation.statistics import Interval, paired_over_seeds, verdict
from ftheta.lifecycle.bake_off import budget, run_arm
from ftheta.lifecycle.build import refuse_misfits
from ftheta.lifecycle.compare import amount, table, with_interval
from ftheta.lifecycle.corpora import prepared, refuse_others
from ftheta.lifecycle.executors import build_executor
from ftheta.lifecycle.finished import FinishedRun, read_runs
from ftheta.lifecycle.held_text import HeldText, held_text
from ftheta.lifecycle.recipe import Recipe, load
from ftheta.models.folder import load as load_model
from ftheta.training.events import Listener

WHOLE = "as it is"
"""The arm that the others are compared with."""
EVERYTHING = "everything"
"""Said for all rules and ways of de-duplication together."""
PLACES = {"clean": RULES, "deduplicate": DEDUPLICATIONS}
"""Section of `data` → what can stand in it."""


@dataclass(frozen=True)
class DataArm:
    """What came of one way to make the data."""

    name: str
    documents: int
    """That train."""
    tokens: int
    """That train."""
    runs: list[FinishedRun]
    """One for each seed."""
    bits_per_byte: float
    """Of the held-out documents, in the mean of the seeds."""
    difference: Interval | None
    """Its bits per byte minus those of the recipe as it is; None for that itself."""
    unchanged: Interval | None
    """The same on those documents alone that both arms leave as the same text; None where these are all, or too few."""

    @property
    def says(self) -> str:
        """What the difference says of the rule."""
        if self.difference is None:
            return ""
        found = verdict(self.difference, "lower")
        return found if found[0] == "n" else "worse" if found[0] == "B" else "better"


@dataclass(frozen=True)
class DataAblation:
    """What leaving rules out, or adding them, did."""

    arms: list[DataArm]
    """The recipe as it is first."""
    held: HeldText
    seeds: int
    notes: list[str]
    picture: Path

    def show(self) -> str:
        return show(self)


def ablate_data(
    recipe: str | Path | Mapping[str, Any], *, without: Sequence[str] = (), add: Sequence[str] = (), seeds: int = 3, changes: Sequence[str] | Mapping[str, Any] = (),
    out: str | Path | None = None, workers: int | None = None, listeners: Sequence[Listener] = (),
) -> DataAblation:
    """Train a recipe's model on its data made in several ways and say how much each is worth.

    `without` names rules (`quality`, the second one `quality-2`, two at once `lines+quality`, or `everything`); `add` gives rules to have besides, as in
    a recipe (`repair`, `{kind: near, threshold: 0.8}`); neither: the recipe without each of its rules in turn. `seeds` is how often each is trained.
    Raises UsageError, ConfigError, DataError and what `run` raises.
    """
    parsed = load(recipe, changes)
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: expected 1 or more")
    refuse_unmeasurable(parsed)
    recipes, turned = arms(parsed, without, add)
    notes = list[str]()
    texts: dict[str, PreparedText] = {}
    for name, one in list(recipes.items()):
        refuse_misfits(one)
        try:
            texts[name] = prepared(one, build_executor("local", workers))
        except DataError as error:
            if not turned or name == WHOLE:
                raise
            notes.append(f"{name}: cannot be made ({error})")
            del recipes[name]
    held = held_text(texts, WHOLE)
    folder = Path(out) if out is not None else Path("runs") / f"{parsed.name}-data"
    folder.mkdir(parents=True, exist_ok=True)
    steps = budget(folder, recipes)
    runs: dict[str, list[FinishedRun]] = {}
    for name, one in recipes.items():
        places = [folder / plain(name) / f"seed-{parsed.seed + number}" for number in range(seeds)]
        for number, place in enumerate(places):
            logger.info("%s, seed %d ...", name, parsed.seed + number)
            run_arm(one.replace(seed=parsed.seed + number), steps[name], place, listeners)
        runs[name] = read_runs(places)
    bits = measured(folder, held, runs)
    if parsed.train.minutes:
        notes.append("train.minutes gives every arm the same time, not the same compute: say train.flops or train.steps where the machine is not yours alone")
    if seeds == 1:
        notes.append("with one seed the intervals say what other documents would change, not what another seed of training would")
    sizes = np.array([len(text.encode()) for text in held.texts], dtype=float)
    found = [arm(name, texts[name], runs[name], bits, sizes, held, parsed.seed) for name in recipes]
    place = folder / "ablation.png"
    rows = [(one.name, one.difference) for one in found if one.difference is not None]
    write_file(place, bars(rows, f"bits per byte of {len(held.texts)} held-out documents, minus those of the recipe as it is", 0.0))
    return DataAblation(found, held, seeds, notes, place)


def refuse_unmeasurable(recipe: Recipe) -> None:
    """Raise UsageError for data that are no documents, and for a model whose bits per byte mean nothing."""
    refuse_others(recipe)
    model = recipe.architecture(recipe.data.ports().sizes, stand_in=True)
    reasons = BitsPerByte().misfits(recipe.data.ports(), model)
    if not reasons and "causal" not in model.ports().traits:
        reasons = [f"'{model.name}' sees what comes after a token too, and arms are compared by how well they foretell text: choose a decoder"]
    if reasons:
        raise UsageError(reasons[0])


# what is compared


def arms(recipe: Recipe, without: Sequence[str], add: Sequence[str]) -> tuple[dict[str, Recipe], bool]:
    """The recipe as it is and in every other way, by name, and whether each rule is left out in turn. Raises UsageError."""
    kinds = [(section, getattr(rule, "kind")) for section in PLACES for rule in getattr(recipe.data, section)]  # noqa: B009
    known = dict(zip(numbered([kind for _, kind in kinds]), kinds, strict=True))
    turned = not without and not add
    if turned and not known:
        raise UsageError("data.clean and data.deduplicate are empty: there is nothing to leave out; say what to have besides, such as --with quality")
    split = recipe.data.split or Split()
    fixed = split.replace(seed=recipe.seed if split.seed is None else split.seed)         # the same documents with every seed of training
    recipe = recipe.replace(evaluate=[], data={**recipe.data.dump(), "split": fixed.dump()})
    found = {WHOLE: recipe}
    for said in without or (known if turned else ()):
        names = list(known) if said == EVERYTHING else said.split("+")
        for name in names:
            if name not in known:
                raise UsageError(f"--without {said}: the recipe has no rule '{name}'{suggest(name, [*known, EVERYTHING], 'rules')}")
        found[f"without {said}"] = lacking(recipe, {list(known).index(name) for name in names})
    added = [parse_rule(said) for said in add]
    for name, (section, rule) in zip(numbered([rule["kind"] for _, rule in added]), added, strict=True):
        data = recipe.data.dump()
        found[f"with {name}"] = recipe.replace(data={**data, section: [*data[section], rule]})
    return {name: one.replace(name=f"{recipe.name}-{plain(name)}"[:80]) for name, one in found.items()}, turned


def plain(name: str) -> str:
    """A name as that of a folder and of a recipe."""
    return re.sub(r"[^\w.-]+", "-", name)


def lacking(recipe: Recipe, places: set[int]) -> Recipe:
    """The recipe without the rules that stand at these places, counted through all sections."""
    data, first = recipe.data.dump(), 0
    for section in PLACES:
        rules = data[section]
        data[section] = [rule for number, rule in enumerate(rules, first) if number not in places]
        first += len(rules)
    return recipe.replace(data=data)


def parse_rule(said: str) -> tuple[str, dict[str, Any]]:
    """The section and the fields of a rule as a recipe says it."""
    try:
        value = YAML(typ="safe", pure=True).load(said)
    except YAMLError:
        value = None
    fields: dict[str, Any] = value if isinstance(value, dict) else {"kind": value}
    kind = fields.get("kind")
    section = next((section for section, catalogue in PLACES.items() if isinstance(kind, str) and kind in catalogue), None)
    if section is None:
        names = [name for catalogue in PLACES.values() for name in catalogue.names()]
        raise UsageError(f"--with {said}: expected a rule, such as near or '{{kind: near, threshold: 0.8}}'{suggest(str(kind), names, 'rules')}")
    return section, fields


# what came of it


def measured(folder: Path, held: HeldText, runs: Mapping[str, Sequence[FinishedRun]]) -> dict[str, list[np.ndarray]]:
    """Bits that the model of every run needs for each held-out document; what has been measured is not measured again."""
    place, key = folder / "held-out.json", digest(held.texts)
    known: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    found = known["bits"] if known.get("text") == key else {}
    for name, several in runs.items():
        for run in several:
            label = f"{name}, {run.label}"
            if label not in found:
                logger.info("measuring %s ...", label)
                model = load_model(str(run.folder / "model"))
                _, nats, _ = BitsPerByte().nats(Subject(model, {}, {"test": held.texts}, run.results["seed"]))
                found[label] = (nats / math.log(2)).tolist()
                write_json(place, {"text": key, "documents": held.names, "bits": found})
    return {name: [np.array(found[f"{name}, {run.label}"]) for run in several] for name, several in runs.items()}


def arm(
    name: str, text: PreparedText, runs: list[FinishedRun], bits: Mapping[str, list[np.ndarray]], sizes: np.ndarray, held: HeldText, seed: int,
) -> DataArm:
    """One arm beside the recipe as it is."""
    difference, unchanged = None, None
    if name != WHOLE:
        difference = paired_over_seeds(bits[name], bits[WHOLE], sizes, seed)
        same = held.unchanged[name]
        if 2 <= same.sum() < len(same):
            unchanged = paired_over_seeds([one[same] for one in bits[name]], [one[same] for one in bits[WHOLE]], sizes[same], seed)
    size = text.account["splits"]["train"]["documents"], text.account["tokens"]["train"]["tokens"]
    return DataArm(name, *size, runs, float(np.mean([one.sum() / sizes.sum() for one in bits[name]])), difference, unchanged)


def show(result: DataAblation) -> str:
    """The arms as a plain table, one a line."""
    several = any(one.unchanged for one in result.arms)
    heads = ["documents", "tokens", "FLOPs", "bits per byte", "minus as it is", *(["on unchanged text"] if several else []), ""]
    rows: list[tuple[str, list[str]] | str] = [("", heads)]
    for one in result.arms:
        differences = [one.difference, *([one.unchanged] if several else [])]
        shown = ["-" if found is None else with_interval(found.value, found.low, found.high) for found in differences]
        flops = [run.costs["flops"] for run in one.runs if run.costs.get("flops")]
        rows.append((one.name, [f"{one.documents:,}", f"{one.tokens:,}", amount(float(np.mean(flops)) if flops else None), f"{one.bits_per_byte:.4f}", *shown, one.says]))
    held = result.held
    said = [f"measured on {len(held.texts):,} documents that every arm keeps for testing (95 % intervals, {result.seeds} seed{'s' if result.seeds > 1 else ''} of training)"]
    if held.copied:
        said.append(f"{held.copied:,} more are left out, since training documents of an arm hold much of their text")
    return "\n\n".join([table(rows), "\n".join(said), *(["\n  ".join(["notes", *result.notes])] if result.notes else []), f"picture: {result.picture}"])
