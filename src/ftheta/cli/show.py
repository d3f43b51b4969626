"""How the command line says what several verbs say."""

from __future__ import annotations

import math


def interval(low: float | None, high: float | None) -> str:
    """The 95 % interval in words; a single unit (one document, one class) gives none."""
    if low is None or high is None or not math.isfinite(low + high):
        return "no interval"
    return f"95 % interval {low:.4g} to {high:.4g}"
