"""What makes the runs of the documentation short: a reader gets the recipe's budget, the tests get this one.

Two steps, few examples for metrics that write texts, and for text a small part of the corpus and a small model. Everything else is what the page says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import ftheta
from ftheta.architectures import ARCHITECTURES
from ftheta.core.config import merge
from ftheta.core.errors import FthetaError
from ftheta.lifecycle.recipe import load
from ftheta.training.config import BUDGETS

REAL_RUN = ftheta.run
FEW = {"limit": 4, "prompts": 4}
"""Test examples of metrics that write texts."""
TEXT: dict[str, dict[str, Any]] = {
    "data": {"source": {"include": ["json/*.py", "html/*.py", "logging/*.py", "zoneinfo/*.py"]}, "tokenizer": {"vocab": 512}, "pack": {"length": 64, "ramp": []}},
    "model": {"dim": 48, "depth": 1},
}


def short(recipe: str | Path | Mapping[str, Any], changes: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Changes to lay over a recipe; none for one that cannot be read, so that the run itself says why."""
    try:
        parsed = load(recipe, changes)
    except FthetaError:
        return {}
    found: dict[str, Any] = {}
    if any(getattr(parsed.train, budget) is not None for budget in BUDGETS):
        found["train"] = {**dict.fromkeys(BUDGETS), "steps": 2}
    if getattr(parsed.data.source, "path", None) == "python:stdlib":
        fields = ARCHITECTURES.load(parsed.model["kind"]).model_fields
        found = merge(found, {**TEXT, "model": {name: size for name, size in TEXT["model"].items() if name in fields}})
    if any(metric.name == "generated" for metric in parsed.evaluate):
        found["evaluate"] = []                                                            # it trains a classifier first
    elif any(type(metric).model_fields.keys() & FEW for metric in parsed.evaluate):
        found["evaluate"] = [{**(own := metric.dump()), **{name: few for name, few in FEW.items() if isinstance(own.get(name), int)}} for metric in parsed.evaluate]
    return found


def short_arguments(arguments: Sequence[str]) -> list[str]:
    """`ftheta run ...` with the budget appended; every other verb as it is."""
    if not arguments or arguments[0] != "run" or len(arguments) < 2 or arguments[1].startswith("-"):
        return list(arguments)
    given = [value for option, value in pairwise(arguments) if option == "--set"]
    return [*arguments, *(part for change in flat(short(arguments[1], given)) for part in ("--set", change))]


def flat(changes: Mapping[str, Any], path: str = "") -> list[str]:
    """Nested changes as `a.b=c`."""
    found = []
    for key, value in changes.items():
        place = f"{path}.{key}" if path else key
        found += flat(value, place) if isinstance(value, Mapping) else [f"{place}={json.dumps(value)}"]
    return found


def change(program: str, arguments: list[str]) -> list[str]:
    """What forked/server.py carries out instead."""
    ftheta.run = shortened_run
    return short_arguments(arguments) if program == "ftheta" else arguments


def shortened_run(recipe: Any, *, changes: Any = (), **others: Any) -> Any:
    """`ftheta.run` with the tests' budget."""
    budget = short(recipe, changes)
    return REAL_RUN(recipe, changes=merge(changes, budget) if isinstance(changes, dict) else [*changes, *flat(budget)], **others)
