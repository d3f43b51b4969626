"""The picture of a comparison: curves against steps, seconds, FLOPs and tokens, and final measurements with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from ftheta.lifecycle.equal_compute import AXES, Group
from ftheta.lifecycle.finished import FinishedRun
from ftheta.lifecycle.pictures import plt, png

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")
"""Wong 2011 (doi:10.1038/nmeth.1618): told apart by colour-blind readers too."""
WIDTH = 15.0
ACROSS = 3
"""Measurements in a row."""
FEW = 40
"""Points of a curve up to which each is marked."""


def picture(runs: Sequence[FinishedRun], groups: Sequence[Group]) -> bytes:
    """A PNG: a row of panels for each group of comparable curves, then a panel for each measurement."""
    colours = {run.label: COLOURS[i % len(COLOURS)] for i, run in enumerate(runs)}
    names = list(dict.fromkeys(name for run in runs for name in run.measurements))
    parts = [names[start : start + ACROSS] for start in range(0, len(names), ACROSS)]
    heights = [3.4] * len(groups) + [1.2 + 0.34 * len(runs)] * len(parts) or [1.0]
    figure = plt.figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, group in zip(rows, groups, strict=False):
        draw_group(row, group, colours)
    for row, part in zip(rows[len(groups) :], parts, strict=False):
        panels = row.subplots(1, max(2, len(part)), squeeze=False)[0]
        for i, panel in enumerate(panels):
            draw_measurement(panel, part[i], runs, colours) if i < len(part) else panel.set_axis_off()
    return png(figure)


def draw_group(row: Any, group: Group, colours: dict[str, str]) -> None:
    """One quantity of several runs, against every axis they share; dotted where all had spent the same."""
    axes = ["steps", *[axis for axis in AXES if axis in group.equal]]
    panels = row.subplots(1, len(axes), squeeze=False, sharey=True)[0]
    values = np.concatenate([curve.values for curve in group.curves])
    for panel, name in zip(panels, axes, strict=True):
        for run, curve in zip(group.runs, group.curves, strict=True):
            x = curve.steps if name == "steps" else curve.axes[name]
            panel.plot(x, curve.values, color=colours[run.label], label=run.label, linewidth=1.6, marker="o" if len(x) <= FEW else "", markersize=3.5)
        if name in group.equal:
            panel.axvline(group.equal[name][0], color="0.45", linestyle=":", linewidth=1.2)
        panel.set_xlabel(f"{group.unit}s" if name == "units" else name)
        panel.xaxis.set_major_locator(MaxNLocator(6))
        if max(float(curve.steps[-1] if name == "steps" else curve.axes[name][-1]) for curve in group.curves) >= 1e4:
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        if values.min() > 0 and values.max() / values.min() > 8:
            panel.set_yscale("log")
        tidy(panel)
    panels[0].set_ylabel(f"{group.quantity} ({group.better} is better)")
    row.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(group.runs), frameon=False)


def draw_measurement(panel: Any, name: str, runs: Sequence[FinishedRun], colours: dict[str, str]) -> None:
    """One measurement of the runs that have it: a dot and its interval each, baselines as dashed lines."""
    entries = [(run, run.measurements[name]) for run in runs if name in run.measurements]
    for place, (run, entry) in enumerate(entries):
        if entry["low"] is not None:
            panel.plot([entry["low"], entry["high"]], [place, place], color=colours[run.label], linewidth=2.4, solid_capstyle="butt")
        panel.plot(entry["value"], place, "o", color=colours[run.label], markersize=7)
    baselines = {baseline: value for _, entry in entries for baseline, value in entry["baselines"].items()}
    for value in baselines.values():
        panel.axvline(value, color="0.5", linestyle="--", linewidth=1)
    near, last, raised = 0.1 * float(np.ptp(panel.get_xlim())), -np.inf, False
    for baseline, value in sorted(baselines.items(), key=lambda item: item[1]):
        raised, last = value - last < near and not raised, value
        panel.text(value, 1.15 if raised else 1.03, baseline, transform=panel.get_xaxis_transform(), fontsize=8, color="0.35", ha="center")
    better = entries[0][1]["better"]
    panel.set_xlabel(name + (f" ({better} is better)" if better != "neither" else ""))
    panel.xaxis.set_major_locator(MaxNLocator(6))
    panel.set_ylim(len(entries) - 0.5, -0.5)
    panel.set_yticks(range(len(entries)), [run.label for run, _ in entries])
    tidy(panel)


def tidy(panel: Any) -> None:
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
