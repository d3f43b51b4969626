"""Run every shipped recipe with a small budget: each must train, save, load, evaluate and verify."""

import sys
import time
from pathlib import Path

import ftheta
from ftheta.core.errors import DataError
from ftheta.lifecycle.recipe import load, shipped

BUDGETS = ("steps", "epochs", "tokens", "minutes")


def small(name: str) -> dict:
    """The recipe's budget, cut down."""
    train = load(name).train
    if all(getattr(train, budget) is None for budget in BUDGETS):
        return {}
    return {"train": {**dict.fromkeys(BUDGETS), "steps": 30}}


out, failed = Path(sys.argv[1]), 0
for recipe in shipped():
    start = time.time()
    try:
        outcome = ftheta.run(recipe, changes=small(recipe), out=out / f"smoke-{recipe}")
        ftheta.load(outcome.model_folder)
        bad = [entry for entry in ftheta.verify(outcome.folder) if entry.problems]
        print(f"{recipe:16} {bad or 'ok'}  {time.time() - start:.0f} s", flush=True)
        failed += bool(bad)
    except DataError as error:
        print(f"{recipe:16} skipped: {error}", flush=True)
    except Exception as error:
        print(f"{recipe:16} FAILED: {type(error).__name__}: {error}", flush=True)
        failed += 1
sys.exit(1 if failed else 0)
