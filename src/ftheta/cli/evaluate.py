"""`ftheta evaluate`: measure a model again, or by benchmarks and probes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import ftheta
from ftheta.cli.arguments import AcceptOption, ModelArgument, SetOption
from ftheta.cli.show import interval
from ftheta.core.errors import UsageError


def evaluate(
    model: ModelArgument,
    set_: SetOption = [],  # noqa: B006
    benchmark: Annotated[list[str], typer.Option(metavar="NAME|FILE", help="A benchmark of `ftheta list benchmarks`, or a YAML file; may be given several times.")] = [],  # noqa: B006
    probe: Annotated[list[str], typer.Option(metavar="NAME", help="A probe of bias: occupations, winogender or crows_pairs; may be given several times.")] = [],  # noqa: B006
    harness: Annotated[list[str], typer.Option(metavar="TASK", help="A task of lm-evaluation-harness; may be given several times.")] = [],  # noqa: B006
    include: Annotated[Path | None, typer.Option(help="A folder of further tasks for --harness; their code is carried out.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many questions of a benchmark or task.")] = None,
    shots: Annotated[int | None, typer.Option(help="Answered examples before every question of a benchmark or task.")] = None,
    seed: Annotated[int, typer.Option(help="Which questions and examples are drawn.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A new folder for results, pictures and the values of single units.")] = None,
    accept: AcceptOption = None,
) -> None:
    """Measure a model on the test split of the recipe that made it (--set changes the recipe's evaluate section), or by benchmarks and probes.

    Example: ftheta evaluate runs/python-lm/model --set "evaluate=[{kind: bits_per_byte, stride: 256}]"
    """
    metrics: list[dict[str, Any]] = [{"kind": "benchmark", "which": which, "limit": limit, "shots": shots} for which in benchmark]
    metrics += [{"kind": name} for name in probe]
    if set_ and (metrics or harness):
        raise UsageError("--set is for the metrics of a recipe: leave it out with --benchmark, --probe and --harness")
    if (limit is not None or shots is not None) and not (benchmark or harness):
        raise UsageError("--limit and --shots are for --benchmark and --harness")
    if include is not None and not harness:
        raise UsageError("--include is for --harness")
    tasks = {"tasks": harness, "limit": limit, "shots": shots, "include": include and str(include)} if harness else None
    found = ftheta.evaluate(model, changes=set_, metrics=metrics, harness=tasks, seed=seed, out=out, accept=accept)
    for m in found.measurements:
        print(f"{m.name}: {m.value:.4g}  ({interval(m.low, m.high)}, {m.n} {m.unit}s, {m.method}, seed {m.seed})")
        for name, value in m.baselines.items():
            print(f"  {name}: {value:.4g}")
    for title, text in found.texts.items():
        print(f"\n{title}:\n{text}")
