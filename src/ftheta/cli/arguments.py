"""Arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ftheta.models.model import Model

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe (see `ftheta list recipes`).")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A model folder, such as runs/NAME/model, or a model of the Hugging Face hub: ORG/NAME, ORG/NAME@REVISION.")]
SetOption = Annotated[list[str], typer.Option("--set", metavar="a.b=c", help="Change a field of the recipe; may be given several times.")]
AdapterOption = Annotated[Path | None, typer.Option(metavar="DIR", help="Answer with the adapter (LoRA, prompt or prefix tuning) in this PEFT folder.")]
AcceptOption = Annotated[str | None, typer.Option(metavar="HASH", help="Use the folder though it reads prompts otherwise than when it was written; the error says the hash.")]
PrecisionOption = Annotated[str, typer.Option(help="Compute in float32, bfloat16 (faster, rounded), or int8 or int4: bfloat16 with weights of maps in so many bits.")]
OnOption = Annotated[str, typer.Option("--on", help="Who does the work on documents: local (processes of this machine), or ray (a cluster).")]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="How many steps at a time; none: one for each core.")]
NO_CHANGES = typer.Option(default_factory=list)


def with_adapter(model: Model, folder: Path | None) -> Model:
    """The model, using the adapter of a folder if there is one."""
    return model if folder is None else model.attach(folder, "adapter").use("adapter")
