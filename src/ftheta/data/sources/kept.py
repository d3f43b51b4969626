"""What is kept from training: a share of the examples, or those of another file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from ftheta.core.config import describe


def share_or_file(value: Any) -> Any:
    """The value, if it can be either; what it is exactly is checked by its type."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    if number or (isinstance(value, str) and value):
        return value
    raise ValueError(f"expected a share (0 or more, below 1) or a file, got {describe(value)}")


Kept = Annotated[float | str, BeforeValidator(share_or_file)]
"""A share of the examples, 0 for none, or a file."""


def shares(kept: Mapping[str, float | str]) -> dict[str, float]:
    """Those kept as a share. Raises ValueError when nothing is left to train on."""
    found = {name: value for name, value in kept.items() if isinstance(value, float) and value}
    if sum(found.values()) >= 1:
        raise ValueError(f"{' and '.join(found)} take {sum(found.values()):.0%} of the examples, which leaves none to train on")
    return found


def files(kept: Mapping[str, float | str]) -> dict[str, str]:
    """Those kept in a file of their own."""
    return {name: value for name, value in kept.items() if isinstance(value, str)}
