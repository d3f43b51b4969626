"""`ftheta list`: what exists."""

from __future__ import annotations

from typing import Annotated

import typer

import ftheta


def list_(
    what: Annotated[str | None, typer.Argument(metavar="[WHAT]", help="recipes, presets, compatibility, schema, or a sort of part such as objectives; none: everything.")] = None,
) -> None:
    """List recipes, presets, every catalogue, what fits with what, or the recipe's JSON Schema.

    Example: ftheta list compatibility
    """
    print(ftheta.listing(what))
