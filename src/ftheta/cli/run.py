"""`ftheta run`: everything a recipe says, in restartable stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ftheta
from ftheta.cli.arguments import OnOption, RecipeArgument, SetOption, WorkersOption
from ftheta.cli.progress import Progress
from ftheta.cli.show import interval


def run(
    recipe: RecipeArgument,
    set_: SetOption = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/<name> unless given.")] = None,
    on: OnOption = "local",
    workers: WorkersOption = None,
) -> None:
    """Do everything the recipe says; run it again and it continues, or says it is done.

    Example: ftheta run python-lm --set train.minutes=5
    """
    with Progress() as progress:
        outcome = ftheta.run(recipe, changes=set_, out=out, listeners=[progress], on=on, workers=workers)
    results, folder = outcome.results, outcome.folder
    if not outcome.fresh:
        print(f"{folder} is done (finished {results['finished']}); choose another --out to run it afresh")
    for m in results["measurements"]:
        others = "".join(f", {name} {value:.4g}" for name, value in m["baselines"].items())
        print(f"{m['name']}: {m['value']:.4g}  ({interval(m['low'], m['high'])}, {m['n']} {m['unit']}s{others})")
    print(f"\nmodel   {folder}/model\nreport  {folder}/report/card.md")
    print("next    " + "\n        ".join(suggestions(results["task"], str(folder))))


def suggestions(task: str, folder: str) -> list[str]:
    """Commands worth trying on a finished run."""
    use = {
        "text-generation": f'ftheta generate {folder}/model "def "',
        "fill-mask": f'ftheta predict {folder}/model "import <mask>"',
    }.get(task, f"ftheta predict {folder}/model --help")
    return [use, f"ftheta verify {folder}", f"ftheta compare {folder} OTHER_RUN"]
