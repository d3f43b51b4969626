"""Several classes of one example: as they are written, and as numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ftheta.core.errors import DataError, suggest


def apart(value: Any, separator: str) -> tuple[str, ...]:
    """The classes that a list holds, or a text names, each once; a text may be a list as JSON. An empty one names none."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    parts = value if isinstance(value, list) else str(value).split(separator)
    return tuple(dict.fromkeys(name for part in parts if (name := str(part).strip())))


def many_hot(answers: Sequence[tuple[str, ...]], names: Sequence[str], places: Sequence[str]) -> Tensor:
    """(N, K) bool: which of the classes `names` each example has. Raises DataError, naming its place, for a class that is not among them."""
    numbers = {name: number for number, name in enumerate(names)}
    found = torch.zeros(len(answers), len(names), dtype=torch.bool)
    for row, (answer, place) in enumerate(zip(answers, places, strict=True)):
        for name in answer:
            if name not in numbers:
                raise DataError(f"{place}: no training example is of class '{name}'{suggest(name, names, 'classes')}")
            found[row, numbers[name]] = True
    return found
