"""A finished run folder, read back: its recipe, results, units' values and the lines written while it trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftheta.core.atomic import file_name, verify
from ftheta.core.errors import FolderError
from ftheta.lifecycle.recipe import read_yaml
from ftheta.training.events import read_lines


@dataclass(frozen=True)
class FinishedRun:
    """What a run folder says about itself."""

    label: str
    """How this run is called beside others: its folder's name, longer where that is not enough."""
    folder: Path
    recipe: dict[str, Any]
    results: dict[str, Any]
    """report/results.json."""
    lines: list[dict[str, Any]]
    """metrics.jsonl; empty for models that fit themselves."""

    @property
    def costs(self) -> dict[str, Any]:
        return self.results["training"]

    @property
    def data(self) -> dict[str, Any]:
        return self.results["data"]

    @property
    def measurements(self) -> dict[str, dict[str, Any]]:
        """Facts of every measurement, by name."""
        return {entry["name"]: entry for entry in self.results["measurements"]}

    def section(self, *path: str) -> Any:
        """A part of the recipe; None where there is none."""
        here: Any = self.recipe
        for step in path:
            here = here.get(step) if isinstance(here, dict) else None
        return here

    def values(self, measurement: str) -> dict[str, np.ndarray]:
        """The units' values of a measurement, empty when none were kept."""
        with np.load(self.folder / "report" / "values" / f"{file_name(measurement)}.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def read_runs(folders: Sequence[str | Path]) -> list[FinishedRun]:
    """Read several run folders. Raises FolderError for one that is no run folder, is not finished or does not verify."""
    places = [Path(folder) for folder in folders]
    return [read_run(place, label) for place, label in zip(places, labels(places), strict=True)]


def read_run(folder: Path, label: str) -> FinishedRun:
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder; give run folders, such as runs/NAME")
    if not (folder / "recipe.yaml").is_file():
        hint = f"give the run it belongs to, {folder.parent}" if (folder.parent / "recipe.yaml").is_file() else "give a folder that `ftheta run` wrote"
        raise FolderError(f"{folder} is no run folder (it holds no recipe.yaml): {hint}")
    if not (folder / "report").is_dir():
        raise FolderError(f"{folder} is not finished: `ftheta run {folder / 'recipe.yaml'} --out {folder}` continues it")
    if found := verify(folder / "report"):
        raise FolderError(f"{folder / 'report'} is not as it was written:\n  " + "\n  ".join(found))
    lines = read_lines(folder / "metrics.jsonl") if (folder / "metrics.jsonl").is_file() else []
    return FinishedRun(label, folder, read_yaml(folder / "recipe.yaml"), json.loads((folder / "report" / "results.json").read_bytes()), lines)


def labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell all of them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise FolderError(f"the same run is given twice: {', '.join(map(str, folders))}")
