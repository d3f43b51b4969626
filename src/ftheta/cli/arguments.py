"""Arguments that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe (see `ftheta list recipes`).")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A model folder, such as runs/NAME/model, or a model of the Hugging Face hub: ORG/NAME, ORG/NAME@REVISION.")]
SetOption = Annotated[list[str], typer.Option("--set", metavar="a.b=c", help="Change a field of the recipe; may be given several times.")]
NO_CHANGES = typer.Option(default_factory=list)
