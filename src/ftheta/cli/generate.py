"""`ftheta generate`: continue a text."""

from __future__ import annotations

from typing import Annotated

import typer

import ftheta
from ftheta.cli.arguments import ModelArgument


def generate(
    model: ModelArgument,
    prompt: Annotated[str, typer.Argument(help="The text to continue.")],
    most: Annotated[int, typer.Option(min=1, help="At most this many new tokens.")] = 200,
    temperature: Annotated[float, typer.Option(min=0, help="Divides the logits; 0 takes the likeliest token.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Choose among this many likeliest tokens.")] = None,
    top_p: Annotated[float, typer.Option(help="Choose among the likeliest tokens that together hold this probability.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Same seed, same text.")] = 0,
    stop: Annotated[list[str], typer.Option(help="End before this text; may be given several times.")] = [],  # noqa: B006
) -> None:
    """Continue a text with a language model, printing as it goes.

    Example: ftheta generate runs/python-lm/model "def "
    """
    opened = ftheta.load(model)
    fields = {"prompt": prompt, "most": most, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed, "stop": stop}
    pieces = opened.stream(fields)
    first = next(pieces, "")                                                              # a model of another kind says so here, before anything is printed
    print(prompt, end=first, flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
