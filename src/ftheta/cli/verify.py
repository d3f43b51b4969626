"""`ftheta verify`: do the checksums hold?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ftheta


def verify(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A model folder or a run folder.")]) -> None:
    """Check every byte of a model or run folder against what was written.

    Example: ftheta verify runs/python-lm
    """
    found = ftheta.verify(folder)
    for entry in found:
        print(f"{entry.folder}: " + ("whole" if not entry.problems else "\n  ".join(["damaged", *entry.problems])))
    if any(entry.problems for entry in found):
        raise typer.Exit(1)
