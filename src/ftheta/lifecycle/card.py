"""The card: what a run is, what it measured, what it cost and what each number came from. Its template is `card.md.jinja`."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2


def render(facts: dict[str, Any]) -> str:
    """The card as Markdown."""
    text = resources.files("ftheta.lifecycle").joinpath("card.md.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters["number"] = number
    return environment.from_string(text).render(facts)


def number(value: float | int | None) -> str:
    """A number as people read it."""
    if value is None:
        return "-"
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.4g}" if size < 1000 else f"{value:,.0f}"
