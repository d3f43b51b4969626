"""`ftheta export`: a model as other programs open it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ftheta
from ftheta.cli.arguments import AcceptOption, AdapterOption, ModelArgument

FORMATS = "huggingface, onnx, torch-export, gguf, safetensors-int8, safetensors-int4, docker-context"


def export(
    model: ModelArgument,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help=f"What to make: {FORMATS}.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The new folder; none: exports/NAME/FORMAT.")] = None,
    precision: Annotated[str | None, typer.Option(help="What weights are kept as, where the format leaves a choice (gguf: f32, f16, q8_0).")] = None,
    adapter: AdapterOption = None,
    accept: AcceptOption = None,
) -> None:
    """Export a model, open what was written with the program it is for, and keep it only if it answers as the model does.

    Example: ftheta export runs/python-lm/model --to onnx
    """
    print(ftheta.export_model(model, to, out=out, precision=precision, adapter=adapter, accept=accept).summary())
