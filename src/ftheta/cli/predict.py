"""`ftheta predict`: run a model on inputs of its task."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

import ftheta
from ftheta.cli.arguments import AcceptOption, AdapterOption, ModelArgument, with_adapter
from ftheta.core.errors import DataError


def predict(
    model: ModelArgument,
    inputs: Annotated[list[str] | None, typer.Argument(help="Inputs: text, a file, folder or JSON, as the model's task takes them; none: read lines from standard input.")] = None,
    task_: Annotated[str | None, typer.Option("--task", help="What to use the model for instead, such as zero-shot-classification.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print what the model's task takes and gives, as JSON Schema.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each input.")] = False,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch inputs that are addresses (https://, s3://) of files.")] = False,
    adapter: AdapterOption = None,
    accept: AcceptOption = None,
) -> None:
    """Answer inputs with a model of any family.

    Example: ftheta predict runs/digits-resnet/model digit.png
    """
    opened = with_adapter(ftheta.load(model, accept=accept), adapter)
    opened = opened if task_ is None else opened.used_for(task_)
    task = opened.task
    if schema:
        print(json.dumps({"task": task.name, "input": task.input.model_json_schema(), "output": task.output.model_json_schema()}, indent=1, ensure_ascii=False))
        return
    lines = inputs or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    missed: list[str] = []
    count = 0
    for file, answer, reason in ftheta.answers(opened, lines, fetch):
        count += 1
        if answer is None:
            missed.append(reason)
        elif as_json:
            print(json.dumps({**({"file": file} if file else {}), **answer.dump()}, ensure_ascii=False))
        else:
            print(f"{file}: {task.show(answer)}" if file else task.show(answer))
    if missed:
        raise DataError(missed[0] if count == 1 else "\n  ".join([f"{len(missed)} of {count} inputs have no answer", *missed]))
