"""`ftheta import`: other people's files made into a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ftheta


def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder with pickled weights, one such file, a model of the hub (ORG/NAME), or a llama2.c .bin file.")],
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    unsafe_pickle: Annotated[bool, typer.Option("--unsafe-pickle", help="Read pickled weights, confined to a process of its own.")] = False,
) -> None:
    """Convert pytorch_model.bin, .pt, .pth (whole or in shards) or a llama2.c model to a folder of safetensors.

    Example: ftheta import downloads/old-bert --out models/old-bert --unsafe-pickle
    """
    print(ftheta.import_model(source, out, unsafe_pickle=unsafe_pickle))
