"""A picture of named numbers with their intervals."""

from __future__ import annotations

import io
from collections.abc import Sequence

from ftheta.evaluation.statistics import Interval


def bars(rows: Sequence[tuple[str, Interval]], title: str, even: float) -> bytes:
    """A bar for each row, from `even` (what no difference looks like) to its value, the interval drawn over it; PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.2 + 0.22 * len(rows)))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, (_, found) in enumerate(reversed(rows)):
        axes.barh(place, found.value - even, left=even, color="tab:orange" if found.value > even else "tab:blue", alpha=0.75)
        if found.low < found.high:
            axes.plot([found.low, found.high], [place, place], color="black", linewidth=1)
    axes.axvline(even, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [plain(name) for name, _ in reversed(rows)], fontsize=7)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_title(title, fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110, bbox_inches="tight")
    return sink.getvalue()


def plain(name: str) -> str:
    """A name in letters that the picture's font has; the report's text holds it as it is."""
    return "".join(c for c in name if ord(c) < 0x2E80).strip(" ()") or "?"
