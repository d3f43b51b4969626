"""`ftheta compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ftheta


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the picture.")] = None,
) -> None:
    """Compare runs: final metrics with intervals, at equal compute where the recipes allow it; a table and a picture.

    Example: ftheta compare runs/python-lm runs/python-lstm
    """
    print(ftheta.compare(runs, out=out).show())
