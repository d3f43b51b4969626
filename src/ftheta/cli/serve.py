"""`ftheta serve`: models behind HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

import ftheta
from ftheta.cli.arguments import AcceptOption, PrecisionOption


def serve(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model folders, such as runs/NAME/model.")],
    host: Annotated[str, typer.Option(help="The address to listen on; another one than this machine's own needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port.")] = 8000,
    key: Annotated[str | None, typer.Option(envvar="FTHETA_KEY", help="What clients must send; better set as FTHETA_KEY than written here.")] = None,
    name: Annotated[list[str], typer.Option("--host-name", help="A name the server goes by besides those of this machine; may be given several times.")] = [],  # noqa: B006
    memory: Annotated[int | None, typer.Option(min=1, help="MB for keys and values of each model; none: what it needs, at most half of the memory.")] = None,
    together: Annotated[int, typer.Option(min=1, help="Sequences written at a time.")] = 32,
    queue: Annotated[int, typer.Option(min=0, help="Sequences that wait at most; further ones are refused.")] = 256,
    adapter: Annotated[list[str], typer.Option(metavar="MODEL:NAME=DIR", help="A PEFT folder that answers as MODEL:NAME; may be given several times.")] = [],  # noqa: B006
    draft: Annotated[str | None, typer.Option(metavar="DIR", help="A smaller model with the same tokenizer that guesses ahead: the same texts, sooner.")] = None,
    ahead: Annotated[int, typer.Option(min=1, help="With --draft: tokens guessed before each look of the larger model.")] = 4,
    precision: PrecisionOption = "float32",
    apart: Annotated[bool, typer.Option("--apart", help="Models in a process of their own, which is started again when it dies.")] = False,
    on: Annotated[str, typer.Option("--on", help="Who serves: local (this machine), or ray (replicas on a cluster).")] = "local",
    replicas: Annotated[str, typer.Option(metavar="N or MIN-MAX", help="With --on ray: how many, or between which numbers as there is work.")] = "1",
    accept: AcceptOption = None,
) -> None:
    """Serve models over HTTP: OpenAI's routes, every task, health and figures.

    Example: ftheta serve runs/python-lm/model
    """
    fields = {"memory": None if memory is None else memory << 20, "together": together, "queue": queue}
    ftheta.serve(
        models, host=host, port=port, key=key, hosts=name, settings=fields, accept=accept, adapters=adapter, precision=precision, draft=draft, ahead=ahead,
        apart=apart, on=on, replicas=replicas,
    )
