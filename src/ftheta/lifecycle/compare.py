"""`compare`: finished runs side by side.

Final measurements with their intervals, what training cost, paired differences on the same units, and what each run had reached at
equal seconds, FLOPs and tokens; as a table and a picture.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ftheta.core.atomic import write_file
from ftheta.core.errors import FolderError, UsageError
from ftheta.evaluation.statistics import Paired, paired
from ftheta.lifecycle.card import number
from ftheta.lifecycle.compare_picture import picture
from ftheta.lifecycle.equal_compute import Group, groups_of
from ftheta.lifecycle.finished import FinishedRun, read_runs
from ftheta.lifecycle.recipe import differences

ARROWS = {"lower": "lower is better", "higher": "higher is better", "neither": ""}


@dataclass(frozen=True)
class Pairing:
    """One measurement of two runs: the paired difference first minus second, or why there is none."""

    measurement: str
    first: str
    second: str
    unit: str
    found: Paired | None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """Which run is better, by name."""
        assert self.found is not None
        return {"A": self.first, "B": self.second}.get(self.found.verdict[0], "n") + self.found.verdict[1:]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side."""

    runs: list[FinishedRun]
    pairings: list[Pairing]
    groups: list[Group]
    """Runs whose curves may be compared, with what they reached at equal compute."""
    notes: list[str]
    """What a reader should know before trusting the comparison."""
    picture: Path

    def show(self) -> str:
        return show(self)


def compare(folders: Sequence[str | Path], *, out: str | Path | None = None) -> Comparison:
    """Compare finished run folders and draw `compare-<names>.png` in the current folder, or `out`.

    Raises UsageError for fewer than two runs, FolderError for folders that are no finished runs or a picture that cannot be written.
    """
    if len(folders) < 2:
        raise UsageError("give at least two run folders to compare")
    runs = read_runs(folders)
    groups, notes = groups_of(runs)
    pairings = [pairing(name, a, b) for name in shared(runs) for a, b in itertools.combinations([run for run in runs if name in run.measurements], 2)]
    place = Path(out) if out is not None else Path(f"compare-{'-'.join(run.label.replace('/', '-') for run in runs)}"[:120] + ".png")
    try:
        write_file(place, picture(runs, groups))
    except OSError as error:
        raise FolderError(f"{place} cannot be written ({error.strerror}): choose another --out, the name of a .png file") from None
    return Comparison(runs, pairings, groups, notes + caveats(runs, groups), place)


def shared(runs: Sequence[FinishedRun]) -> list[str]:
    """Measurements that two runs or more have, in order of appearance."""
    names = [name for run in runs for name in run.measurements]
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def pairing(name: str, a: FinishedRun, b: FinishedRun) -> Pairing:
    first = a.measurements[name]
    reason = different_units(name, a, b)
    found = None if reason else paired(a.values(name), b.values(name), first["better"], first["seed"])
    return Pairing(name, a.label, b.label, first["unit"], found, reason)


def different_units(name: str, a: FinishedRun, b: FinishedRun) -> str:
    """Why a measurement of two runs cannot be paired; empty when its units are the same ones in the same order."""
    first, second = a.measurements[name], b.measurements[name]
    here, there = a.data.get("fingerprint"), b.data.get("fingerprint")
    if here and there and here != there:
        return f"measured on different data (fingerprints {here[:8]} and {there[:8]}: other files, cleaning, split or seed)"
    if not (here and there):                                                              # experience: episodes begin as the seed says
        if a.section("data", "source", "environment") != b.section("data", "source", "environment"):
            return "acted in different environments"
        if first["seed"] != second["seed"]:
            return f"episodes began differently (seeds {first['seed']} and {second['seed']})"
    if first["n"] != second["n"]:
        return f"{first['n']:,} {first['unit']}s on one side, {second['n']:,} on the other"
    tokens = ("data", "tokenizer"), ("data", "pack", "length")
    if first["unit"] == "row" and any(a.section(*place) != b.section(*place) for place in tokens):
        return "rows hold different tokens (data.tokenizer or data.pack differ)"
    kept = a.values(name), b.values(name)
    if not (kept[0] and kept[1]):
        return "no values of single units were kept"
    if kept[0].keys() != kept[1].keys():
        return "the values of single units are of different kinds"
    return ""


def caveats(runs: Sequence[FinishedRun], groups: Sequence[Group]) -> list[str]:
    """What differs between the runs beside what is compared."""
    found = []
    for kind in dict.fromkeys(metric["kind"] for run in runs for metric in run.recipe["evaluate"]):
        settings = {run.label: metric for run in runs for metric in run.recipe["evaluate"] if metric["kind"] == kind}
        first, *others = settings
        for other in others:
            if changed := differences(settings[first], settings[other]):
                found.append(f"{first} and {other} were measured with different settings of {kind}: {'; '.join(changed)}")
    machines = {json.dumps([run.results["machine"].get(key) for key in ("processor", "threads", "device")]) for run in runs}
    if len(machines) > 1:
        found.append("the runs were made on different machines or with different numbers of threads: seconds do not compare")
    if any(len({json.dumps([run.section("train", key) for key in ("validation", "batch", "batch_tokens")]) for run in group.runs}) > 1
           for group in groups if group.quantity.startswith("validation")):
        found.append("the runs looked at differently large parts of the validation split (train.validation and train.batch differ)")
    if any(point.share < 0.99 for group in groups for _, points in group.equal.values() for point in points):
        found.append("[n %] is the share of its own budget a run had used: below 100 % its learning rate had not come down yet, which holds it back")
    return found


def show(comparison: Comparison) -> str:
    """The comparison as a plain table."""
    heading, *rest = sections(comparison)
    rows: list[tuple[str, list[str]] | str] = [("", [run.label for run in comparison.runs]), *heading.rows]
    rows += [line for section in rest for line in (section.title, *section.rows)]
    text = [table(rows)]
    if comparison.pairings:
        text.append("\n  ".join(["differences on the same units (95 % intervals, each comparison by itself)", *map(sentence, comparison.pairings)]))
    if comparison.notes:
        text.append("\n  ".join(["notes", *comparison.notes]))
    return "\n\n".join([*text, f"picture: {comparison.picture}"])


class Section(NamedTuple):
    """A part of the table: a title, and lines of a name with a cell for each run."""

    title: str
    rows: list[tuple[str, list[str]]]


def sections(comparison: Comparison) -> list[Section]:
    """The comparison as tables, that of the runs' parts first."""
    runs = comparison.runs
    found = [Section("", parts(runs)), Section("results (95 % intervals)", results(runs)), Section("training", costs(runs))]
    return found + [Section(f"{group.quantity} at equal compute ({ARROWS[group.better]})", equal_rows(group, runs)) for group in comparison.groups]


def parts(runs: Sequence[FinishedRun]) -> list[tuple[str, list[str]]]:
    """Architecture, objective and source of each run."""
    places = {"model": ("model", "kind"), "objective": ("objective", "kind"), "source": ("data", "source", "kind"), "seed": ("seed",)}
    return [(name, [str(run.section(*place)) for run in runs]) for name, place in places.items()]


def results(runs: Sequence[FinishedRun]) -> list[tuple[str, list[str]]]:
    """Every measurement of any run, and below it the baselines."""
    rows = []
    for name in dict.fromkeys(name for run in runs for name in run.measurements):
        entries = [run.measurements.get(name) for run in runs]
        better = next(entry["better"] for entry in entries if entry)
        rows.append((f"{name} ({ARROWS[better]})" if ARROWS[better] else name, [measured(entry) for entry in entries]))
        for baseline in dict.fromkeys(key for entry in entries if entry for key in entry["baselines"]):
            rows.append((f"  {baseline}", [number(entry["baselines"].get(baseline)) if entry else "-" for entry in entries]))
    return rows


def measured(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "-"
    return with_interval(entry["value"], entry["low"], entry["high"])


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """A number with as many places as its interval justifies: two digits of its width."""
    if low is None or high is None or not 0 < high - low < math.inf:
        return number(value)
    places = max(0, 1 - math.floor(math.log10(high - low)))
    return f"{value:,.{places}f} ({low:,.{places}f} to {high:,.{places}f})"


def costs(runs: Sequence[FinishedRun]) -> list[tuple[str, list[str]]]:
    """What training took."""
    units = " or ".join(dict.fromkeys(f"{run.costs.get('unit', 'example')}s" for run in runs))
    names = {
        "parameters": "parameters", "step": "steps", "units": f"{units} seen", "seconds": "seconds", "units_per_second": f"{units} per second",
        "flops": "FLOPs",
    }
    rows = {label: [run.costs.get(key) for run in runs] for key, label in names.items()}
    return [(label, [amount(value) for value in values]) for label, values in rows.items() if any(value is not None for value in values)]


def amount(value: float | None) -> str:
    return f"{value:.3g}" if value is not None and value >= 1e9 else number(value)


def equal_rows(group: Group, runs: Sequence[FinishedRun]) -> list[tuple[str, list[str]]]:
    rows = []
    for axis, (common, points) in group.equal.items():
        cells = {run.label: reached(point.value, point.share) for run, point in zip(group.runs, points, strict=True)}
        name = f"{group.unit}s" if axis == "units" else axis
        rows.append((f"at {amount(common)} {name}", [cells.get(run.label, "-") for run in runs]))
    return rows


def reached(value: float | None, share: float) -> str:
    return "not measured yet" if value is None else number(value) + ("" if share >= 0.99 else f" [{share:.0%}]")


def sentence(pair: Pairing) -> str:
    """One paired difference in words."""
    names = f"{pair.measurement}: {pair.first} - {pair.second}"
    if pair.found is None:
        return f"{names}: not paired, {pair.reason}"
    difference = pair.found.difference
    return f"{names} = {with_interval(difference.value, difference.low, difference.high)}, {pair.found.n:,} {pair.unit}s: {pair.verdict}"


def table(rows: Sequence[tuple[str, list[str]] | str]) -> str:
    """Rows in columns, headings at the margin."""
    cells = [row for row in rows if not isinstance(row, str)]
    left = max(len(name) for name, _ in cells) + 4
    widths = [max(len(column) for column in columns) + 2 for columns in zip(*(values for _, values in cells), strict=True)]
    lines = []
    for row in rows:
        if isinstance(row, str):
            lines += ["", row]
        else:
            lines.append((f"  {row[0]}".ljust(left) + "".join(value.rjust(width) for value, width in zip(row[1], widths, strict=True))).rstrip())
    return "\n".join(lines)
