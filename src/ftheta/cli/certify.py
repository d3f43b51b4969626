"""`ftheta certify`: do the equivalences hold on this machine?"""

from __future__ import annotations

import typer

import ftheta
from ftheta.cli.arguments import RecipeArgument, SetOption


def certify(
    recipe: RecipeArgument,
    set_: SetOption = [],  # noqa: B006
) -> None:
    """Show that accumulation, packing, resuming, processes, compiling and saving change nothing, with the largest difference of each.

    Example: ftheta certify python-lm
    """
    found = ftheta.certify(recipe, changes=set_)
    for certificate in found:
        print(certificate)
    if any(certificate.failed for certificate in found):
        raise typer.Exit(1)
