"""The plan of a model that is fitted by its own algorithm: nothing can be rehearsed, so it is tried, wholly or on a part of the data."""

from __future__ import annotations

from typing import Any

from ftheta.core.device import memory_bytes
from ftheta.lifecycle.planning.child import ask
from ftheta.lifecycle.planning.cost import Cost, energy
from ftheta.lifecycle.planning.estimate import Estimate, within
from ftheta.lifecycle.planning.machine import Power, available_bytes
from ftheta.lifecycle.planning.memory import PROCESS_BAND, Memory
from ftheta.lifecycle.recipe import Recipe

SECONDS = 20.0
"""A fit that takes no longer is carried out."""
SAME, SCALED = 1.5, 4.0
"""Factors by which the time of another fit may be off: of the same examples, and of more than were tried."""
COPIES = (2, 30)
"""How many times the examples an untried fit may hold, from experience with scikit-learn."""


def tried(recipe: Recipe) -> dict[str, Any]:
    """What fitting all examples, or as many as go quickly, took."""
    return ask("fit", {"recipe": recipe.dump(), "seconds": SECONDS})


def fit_cost(found: dict[str, Any] | None, draw: Power) -> Cost:
    seconds = None
    if found:
        whole = found["rows"] == found["examples"]
        how = "the fit, carried out" if whole else f"fits of {found['rows']:,} of {found['examples']:,} examples and fewer, growing as their number to the {found['growth']:.1f}"
        seconds = within(found["seconds"], SAME if whole else SCALED, how)
    return Cost(seconds=seconds, watts=draw.watts, watts_from=draw.how, watt_hours=energy(seconds, draw))


def fit_memory(found: dict[str, Any] | None, weighed: dict[str, Any]) -> Memory:
    """`weighed`: a process that has only read the data."""
    base, examples = weighed["process"] + weighed["data"], weighed["bytes"]
    parts = {"process": weighed["process"], "data": weighed["data"]}
    if found:
        more = max(0, found["peak"] - base) * found["examples"] // found["rows"]
        band = 1.1 if found["rows"] == found["examples"] else 2.0
        peak = Estimate(value=base + more, low=base + more / band, high=(base + more) * band, how="measured in a fit" if band < 2 else "measured in a smaller fit")
        parts["fit"] = more
    else:
        few, many = COPIES
        peak = Estimate(value=base + few * examples, low=base, high=PROCESS_BAND[1] * base + many * examples + (256 << 20), how="guessed: only a fit can tell")
        parts["fit"] = few * examples
    return Memory(parts=parts, peak=peak, measured=found["peak"] if found else None, reading=base, limit=memory_bytes(), free=available_bytes())
