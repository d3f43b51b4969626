"""`ftheta ui`: the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ftheta


def ui(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The folder that holds the runs.")] = Path("runs"),
    model: Annotated[list[str], typer.Option("--model", metavar="MODEL", help="A model folder to play with; may be given several times.")] = [],  # noqa: B006
    host: Annotated[str, typer.Option(help="The address to listen on; another one than this machine's own needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port.")] = 8000,
    key: Annotated[str | None, typer.Option(envvar="FTHETA_KEY", help="What the page must be told; better set as FTHETA_KEY than written here.")] = None,
    name: Annotated[list[str], typer.Option("--host-name", help="A name the server goes by besides those of this machine.")] = [],  # noqa: B006
) -> None:
    """Show runs, build recipes and play with models in a browser.

    Example: ftheta ui runs
    """
    ftheta.ui(folder, models=model, host=host, port=port, key=key, hosts=name)
