"""Run every shipped recipe with a small budget: each must train, save, load, evaluate and verify. One that goes on from another's model comes after it."""

import sys
import time
from pathlib import Path

import ftheta
from ftheta.core.errors import DataError, FolderError
from ftheta.lifecycle.recipe import load, read_yaml, shipped
from ftheta.training.config import BUDGETS

LIMIT = 8
"""Test examples of metrics that take long for each."""


def start_of(name: str) -> str | None:
    """The recipe whose model this one goes on from."""
    start = read_yaml(shipped()[name]).get("start")
    return Path(start).parts[1] if start and start.startswith("runs/") else None


def in_order() -> list[str]:
    found: list[str] = []
    while rest := [name for name in shipped() if name not in found]:
        found += [name for name in rest if start_of(name) in (None, *found)]
    return found


def small(name: str, start: dict) -> dict:
    """The recipe's start, its budget cut down, and no more than a few examples for metrics that write texts."""
    recipe = load(name, start)
    metrics = [{**metric.dump(), **({"limit": LIMIT} if "limit" in type(metric).model_fields else {})} for metric in recipe.evaluate]
    if all(getattr(recipe.train, budget) is None for budget in BUDGETS):
        return start
    return {**start, "train": {**dict.fromkeys(BUDGETS), "steps": 30}, "evaluate": metrics}


out, failed = Path(sys.argv[1]), 0
left_out: set[str] = set()
for recipe in in_order():
    begin = time.time()
    before = start_of(recipe)
    if before in left_out:
        print(f"{recipe:16} skipped: {before} was", flush=True)
        left_out.add(recipe)
        continue
    try:
        changes = small(recipe, {"start": str(out / f"smoke-{before}" / "model")} if before else {})
        outcome = ftheta.run(recipe, changes=changes, out=out / f"smoke-{recipe}")
        ftheta.load(outcome.model_folder)
        bad = [entry for entry in ftheta.verify(outcome.folder) if entry.problems]
        print(f"{recipe:16} {bad or 'ok'}  {time.time() - begin:.0f} s", flush=True)
        failed += bool(bad)
    except Exception as error:
        if isinstance(error, DataError | FolderError) and "FTHETA_MIRROR" in str(error):
            print(f"{recipe:16} skipped: {error}", flush=True)
            left_out.add(recipe)
        else:
            print(f"{recipe:16} FAILED: {type(error).__name__}: {error}", flush=True)
            failed += 1
sys.exit(1 if failed else 0)
