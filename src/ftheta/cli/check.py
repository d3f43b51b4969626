"""`ftheta check`: do data, model, objective and metrics fit together?"""

from __future__ import annotations

from typing import Annotated

import typer

import ftheta
from ftheta.cli.arguments import RecipeArgument, SetOption


def check(
    recipe: RecipeArgument,
    set_: SetOption = [],  # noqa: B006
    probe: Annotated[bool, typer.Option("--probe", help="Prove the model's traits on a tiny copy: change the future, look at the past.")] = False,
) -> None:
    """Say whether the recipe fits together, or every reason why not; nothing is read or run.

    Example: ftheta check python-lm --probe
    """
    found = ftheta.check(recipe, changes=set_, probe=probe)
    if found.proof is not None:
        print(found.proof)
    if found.reasons:
        print(f"{recipe} does not fit together:\n- " + "\n- ".join(found.reasons))
        raise typer.Exit(2)
    if found.proof is not None and not found.proof.holds:
        raise typer.Exit(1)
    print(f"{recipe} fits together")
