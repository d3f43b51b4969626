"""Runs side by side, as data."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ftheta.lifecycle.compare import Pairing, compare, sections


def compared(folders: list[Path]) -> dict[str, Any]:
    """The tables of `ftheta compare`, measurements with their intervals, paired differences and notes. Raises FolderError for runs that are not finished."""
    with tempfile.TemporaryDirectory() as place:
        found = compare(folders, out=Path(place) / "compare.png")
    entries = [(run.label, entry) for run in found.runs for entry in run.measurements.values()]
    return {
        "runs": [run.label for run in found.runs],
        "sections": [{"title": section.title, "rows": section.rows} for section in sections(found)],
        "measurements": [{"run": label, **{key: entry[key] for key in ("name", "value", "low", "high", "better")}} for label, entry in entries],
        "pairings": [facts(pair) for pair in found.pairings], "notes": found.notes,
    }


def facts(pair: Pairing) -> dict[str, Any]:
    """A paired difference, or why there is none."""
    shared = {"measurement": pair.measurement, "first": pair.first, "second": pair.second, "unit": pair.unit, "reason": pair.reason}
    if pair.found is None:
        return shared
    difference = pair.found.difference
    return {**shared, "difference": difference.value, "low": difference.low, "high": difference.high, "n": pair.found.n, "verdict": pair.verdict}
