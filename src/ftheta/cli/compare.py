"""`ftheta compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ftheta
from ftheta.cli.arguments import SetOption
from ftheta.core.errors import UsageError


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...|RECIPE", help="Finished run folders; or a recipe, to run it with several adaptations.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the picture; of a recipe, the folder of its runs.")] = None,
    arms: Annotated[str, typer.Option(help="Of a recipe: which adaptations, separated by commas; else those it names.")] = "",
    held_out: Annotated[Path | None, typer.Option(help="Of a recipe: text to see what is forgotten by; else the start's test split.")] = None,
    changes: SetOption = [],  # noqa: B006
) -> None:
    """Compare runs: final metrics with intervals, at equal compute where the recipes allow it; a table and a picture.

    Of a recipe that goes on from a model, run it with each of several adaptations at equal compute first; run again, it continues.

    Example: ftheta compare runs/python-lm runs/python-lstm
    """
    recipe = len(runs) == 1 and not runs[0].is_dir()
    if not recipe and (arms or held_out or changes):
        raise UsageError("--arms, --held-out and --set are for one recipe, not for run folders")
    if recipe:
        chosen = [arm.strip() for arm in arms.split(",") if arm.strip()]
        print(ftheta.bake_off(runs[0], arms=chosen, changes=changes, out=out, text=held_out).show())
    else:
        print(ftheta.compare(runs, out=out).show())
