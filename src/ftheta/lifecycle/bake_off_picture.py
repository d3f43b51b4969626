"""The picture of a bake-off: what every arm reached against what it cost; the line joins the arms that no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.lifecycle.compare_picture import COLOURS, tidy
from ftheta.lifecycle.finished import FinishedRun
from ftheta.lifecycle.pictures import plt, png

AXES = {"seconds": ("seconds", 1.0), "peak_memory": ("peak memory, MB", 1e6), "trainable": ("trainable parameters", 1.0)}
"""Cost → how it is called, and its unit."""

FAR = 30
"""Times the smallest cost the largest is, from which on they are drawn on a logarithmic scale."""
LABELS = 6
"""Powers of ten that such a scale names at most."""


def picture(runs: Sequence[FinishedRun], forgotten: Mapping[str, Mapping[str, Any]]) -> bytes:
    """A PNG: a panel for each cost and one for what was forgotten; the first measurement upwards."""
    name = next(iter(runs[0].measurements))
    entries = [one.measurements[name] for one in runs]
    panels = {
        label: [float(one.costs[key]) / unit for one in runs] for key, (label, unit) in AXES.items() if all(one.costs.get(key) is not None for one in runs)
    }
    if forgotten:
        panels["more bits per byte of the start's text"] = [forgotten[one.label]["value"] - forgotten["start"]["value"] for one in runs]
    figure, axes = plt.subplots(1, max(1, len(panels)), figsize=(4.2 * max(1, len(panels)), 3.8), squeeze=False, sharey=True, layout="constrained")
    for panel, (label, values) in zip(axes[0], panels.items(), strict=False):
        for i, (one, entry, value) in enumerate(zip(runs, entries, values, strict=True)):
            colour = COLOURS[i % len(COLOURS)]
            if entry["low"] is not None:
                panel.plot([value, value], [entry["low"], entry["high"]], color=colour, linewidth=2)
            panel.plot(value, entry["value"], "o", color=colour, label=one.label, markersize=7)
        front = undominated([(value, entry["value"]) for value, entry in zip(values, entries, strict=True)], entries[0]["better"] == "higher")
        panel.plot(*zip(*front, strict=True), color="0.5", linestyle="--", linewidth=1, zorder=0)
        least = min((value for value in values if value > 0), default=1.0)
        if min(values) >= 0 and max(values) > FAR * least:
            panel.set_xscale("symlog", linthresh=least)                                   # nothing at all is a cost too
            panel.set_xticks(powers(least, max(values)) if min(values) else [0, *powers(least, max(values))])
        panel.set_xlabel(label)
        tidy(panel)
    axes[0][0].set_ylabel(f"{name} ({entries[0]['better']} is better)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(runs), frameon=False)
    return png(figure)


def powers(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`, all or every n-th: those below `low` would stand on top of the 0."""
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    return [10.0**n for n in range(first, last + 1, 1 + (last - first) // LABELS)]


def undominated(points: Sequence[tuple[float, float]], higher: bool) -> list[tuple[float, float]]:
    """The (cost, value) points that no other beats in value at the same cost or less, cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1] if higher else point[1])):
        if not front or (value > front[-1][1] if higher else value < front[-1][1]):
            front.append((cost, value))
    return front
