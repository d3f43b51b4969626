"""`ftheta chat`: talk with a model that was trained on conversations."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import ftheta
from ftheta.cli.arguments import AcceptOption, AdapterOption, ModelArgument, PrecisionOption, with_adapter


def chat(
    model: ModelArgument,
    system: Annotated[str | None, typer.Option(help="What the model is told before everything else.")] = None,
    most: Annotated[int, typer.Option(min=1, help="At most this many new tokens an answer.")] = 300,
    temperature: Annotated[float, typer.Option(min=0, help="Divides the logits; 0 takes the likeliest token.")] = 0.7,
    top_p: Annotated[float, typer.Option(help="Choose among the likeliest tokens that together hold this probability.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Same seed and same words, same answers.")] = 0,
    adapter: AdapterOption = None,
    precision: PrecisionOption = "float32",
    accept: AcceptOption = None,
) -> None:
    """Talk with a model, line by line; /new forgets what was said, /exit or the end of input leaves.

    Example: ftheta chat runs/sft/model
    """
    opened = with_adapter(ftheta.load(model, accept=accept), adapter).compute_in(precision)
    first = [{"role": "system", "content": system}] if system else []
    said = list(first)
    opened.ensure_chat()                                                                  # a model that cannot says so before anything is asked
    person = sys.stdin.isatty()
    while True:
        try:
            asked = input("> " if person else "").strip()
        except EOFError:
            return
        if asked == "/exit":
            return
        if asked == "/new":
            said = list(first)
        if asked in ("", "/new"):
            continue
        said.append({"role": "user", "content": asked})
        answer = ""
        for piece in opened.stream({"messages": said, "most": most, "temperature": temperature, "top_p": top_p, "seed": seed}):
            print(piece, end="", flush=True)
            answer += piece
        print()
        if answer.strip():
            said.append({"role": "assistant", "content": answer})
        else:
            said.pop()                                                                    # nothing was answered: the next question stands by itself
