"""What is kept from training: a share of the examples, or those of another file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self, TypeVar

from pydantic import BeforeValidator, model_validator
from torch import Tensor

from ftheta.core.config import describe
from ftheta.core.errors import DataError
from ftheta.data.sources.source_config import SourceConfig
from ftheta.data.split import stratified


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


class KeepsApart(SourceConfig):
    """A source whose examples are split here: shares of them, or files of their own."""

    validation: Kept = 0.1
    """Looked at during training: a share of the examples, or another file."""
    test: Kept = 0.1
    """Kept for the final measurement: a share of the examples, or another file."""

    @property
    def kept(self) -> dict[str, float | str]:
        return {"validation": self.validation, "test": self.test}

    @model_validator(mode="after")
    def leaves_some(self) -> Self:
        shares(self.kept)
        return self


T = TypeVar("T")


def parted(items: Sequence[T], groups: Tensor, kept: Mapping[str, float | str], read: Callable[[str], Sequence[T]], seed: int) -> dict[str, list[T]]:
    """The items that train, and those of every part that is kept: drawn, each group (n,) in the same proportion, or read from a file of their own.

    Raises DataError when none are left to train on.
    """
    drawn = {name: part.tolist() for name, part in stratified(groups, shares(kept), seed).items()}
    other = {name: read(path) for name, path in files(kept).items()}
    taken = {row for part in drawn.values() for row in part}
    train = [item for row, item in enumerate(items) if row not in taken]
    if not train:
        raise DataError(f"data.source: {len(items):,} examples are too few to split")
    found = {name: [items[row] for row in drawn[name]] if name in drawn else list(other.get(name, ())) for name in kept}
    return {"train": train, **{name: part for name, part in found.items() if part}}
