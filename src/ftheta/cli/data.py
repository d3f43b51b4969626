"""`ftheta data`: look at the data of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

import ftheta
from ftheta.cli.arguments import RecipeArgument, SetOption

data = typer.Typer(name="data", no_args_is_help=True, rich_markup_mode=None, help="Look at the data of a recipe.\n\nExample: ftheta data show python-lm --rows 2")


@data.callback()
def group() -> None:
    """Look at the data of a recipe."""


@data.command()
def show(
    recipe: RecipeArgument,
    set_: SetOption = [],  # noqa: B006
    split: Annotated[str, typer.Option(help="Which split: train, validation or test.")] = "train",
    rows: Annotated[int, typer.Option(min=1, help="How many rows.")] = 4,
    out: Annotated[Path | None, typer.Option(help="Where pictures are written; none: NAME-SPLIT.png here.")] = None,
) -> None:
    """Show rows as the model is fed them; what the loss is about in colour, or in [[...]] where there is no terminal.

    Example: ftheta data show python-lm --split test --rows 2
    """
    found = ftheta.show_data(recipe, changes=set_, split=split, rows=rows)
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        print(found.plain())
    else:
        console.print(f"{found.split}: {len(found.rows)} of {found.total:,} rows", markup=False)
        for name, value in found.shared.items():
            console.print(f"  {name}: {value}", markup=False)
        for number, row in enumerate(found.rows):
            console.print(Text(f"row {number}", style="bold"))
            for name, spans in row.texts.items():
                line, before = Text(f"  {name}: "), None
                for span in spans:
                    if before is not None and before.document != span.document:
                        line.append("│", style="bold red")
                    line.append(span.text, style="black on green" if span.learned else "dim")
                    before = span
                console.print(line)
            for name, value in row.facts.items():
                console.print(f"  {name}: {value}", markup=False)
    if found.picture is not None:
        place = out or Path(f"{Path(recipe).stem}-{split}.png")
        place.write_bytes(found.picture)
        print(f"pictures: {place}")
