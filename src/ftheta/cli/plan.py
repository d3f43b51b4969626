"""`ftheta plan`: what will it cost?"""

from __future__ import annotations

import json
from typing import Annotated

import typer

import ftheta
from ftheta.cli.arguments import RecipeArgument, SetOption


def plan(
    recipe: RecipeArgument,
    set_: SetOption = [],  # noqa: B006
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Time a few real steps (seconds to a minute) for a better estimate.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Parameters, FLOPs, memory, disk, time and energy, each with its error, before anything runs.

    Example: ftheta plan python-lm --set model.depth=12
    """
    found = ftheta.plan(recipe, changes=set_, probe=probe)
    print(json.dumps(found.dump(), indent=1) if as_json else found.show())
    if not found.fits:
        raise typer.Exit(1)
