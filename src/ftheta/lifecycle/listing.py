"""`list`: what exists, by catalogue, and what fits with what."""

from __future__ import annotations

import json
from collections.abc import Callable

from ftheta.architectures import ARCHITECTURES, presets
from ftheta.blocks import CROSS_MIXERS, FEEDFORWARDS, MESSAGE_PASSING, MIXERS, NORMS, POSITIONS, ROTARY_SCALINGS
from ftheta.core.catalog import Catalogue
from ftheta.core.errors import UsageError, suggest
from ftheta.data.augment import AUGMENTATIONS
from ftheta.data.clean import RULES
from ftheta.data.dedup import DEDUPLICATIONS
from ftheta.data.tokenizers import TOKENIZERS
from ftheta.evaluation.benchmarks.benchmark import read_benchmark
from ftheta.evaluation.benchmarks.benchmark import shipped as shipped_benchmarks
from ftheta.evaluation.metrics import METRICS
from ftheta.experience import ENVIRONMENTS, REWARDS
from ftheta.export import FORMATS
from ftheta.interop import FAMILIES
from ftheta.lifecycle.checking import Cell, compatibility
from ftheta.lifecycle.recipe import ALL_SOURCES, read_yaml, shipped
from ftheta.lifecycle.schema import recipe_schema
from ftheta.models.tasks import TASKS
from ftheta.objectives import OBJECTIVES
from ftheta.training.optimizers import OPTIMIZERS
from ftheta.training.schedules import SCHEDULES

CATALOGUES: dict[str, Catalogue] = {
    "architectures": ARCHITECTURES, "augmentations": AUGMENTATIONS, "cleaning rules": RULES, "cross mixers": CROSS_MIXERS, "deduplications": DEDUPLICATIONS,
    "environments": ENVIRONMENTS, "export formats": FORMATS, "feedforwards": FEEDFORWARDS, "message passing": MESSAGE_PASSING, "metrics": METRICS, "mixers": MIXERS, "norms": NORMS,
    "objectives": OBJECTIVES, "optimizers": OPTIMIZERS, "outside families": FAMILIES, "positions": POSITIONS, "rewards": REWARDS, "rotary scalings": ROTARY_SCALINGS,
    "schedules": SCHEDULES, "sources": ALL_SOURCES, "tasks": TASKS, "tokenizers": TOKENIZERS,
}


def listing(what: str | None = None) -> str:
    """A list in words. Raises UsageError for something that cannot be listed."""
    if what == "compatibility":
        return matrix(compatibility())
    if what == "schema":
        return json.dumps(recipe_schema(), indent=1, ensure_ascii=False)
    sections = {"recipes": recipes, "presets": lambda: sorted(presets()), "benchmarks": benchmarks, **{name: catalogue_lines(c) for name, c in CATALOGUES.items()}}
    if what is None:
        return "\n\n".join(f"{name}\n  " + "\n  ".join(lines()) for name, lines in sections.items())
    if what not in sections:
        raise UsageError(f"there is no list of '{what}'{suggest(what, [*sections, 'compatibility', 'schema'], 'lists')}")
    return "\n".join(sections[what]())


def recipes() -> list[str]:
    """Name and first comment of every shipped recipe."""
    lines = []
    for name, path in shipped().items():
        first = path.read_text(encoding="utf-8").splitlines()[0]
        lines.append(f"{name:18} {first.lstrip('# ') if first.startswith('#') else read_yaml(path).get('name', '')}")
    return lines


def benchmarks() -> list[str]:
    """Name and subject of every shipped benchmark."""
    return [f"{name:18} {read_benchmark(name).about}" for name in shipped_benchmarks()]


def catalogue_lines(catalogue: Catalogue) -> Callable[[], list[str]]:
    """A function that gives name and first line of the docstring of every entry."""

    def lines() -> list[str]:
        return [f"{name:24} {(catalogue.load(name).__doc__ or '').strip().splitlines()[0]}" for name in catalogue.names()]

    return lines


def matrix(cells: list[Cell]) -> str:
    """For each objective the architectures that learn it, and the sources that each learns it from."""
    parts = []
    for objective in sorted({cell.objective for cell in cells}):
        rows = [objective]
        for architecture in sorted({cell.architecture for cell in cells}):
            if fits := sorted(cell.source for cell in cells if (cell.objective, cell.architecture) == (objective, architecture) and not cell.reasons):
                rows.append(f"  {architecture:16} {', '.join(fits)}")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)
