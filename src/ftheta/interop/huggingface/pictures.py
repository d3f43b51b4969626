"""What the picture families of the Hugging Face ecosystem share: class names, refusals, convolutions with batch norm.

A family can express exactly what reading back what it says gives again, apart from what is about training alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftheta.core.errors import FolderError
from ftheta.interop.mapping import Line

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def named_classes(count: int) -> dict[str, Any]:
    """Their fields for this many classes, which a folder gives their names."""
    names = {str(number): f"LABEL_{number}" for number in range(count)}
    return {"id2label": names, "label2id": {name: int(number) for number, name in names.items()}}


def classes_of(theirs: Mapping[str, Any]) -> int:
    """How many classes their config is about."""
    labels = theirs.get("id2label")
    return len(labels) if labels else int(theirs.get("num_labels", 2))


def refuse(theirs: Mapping[str, Any], kind: str, supported: Mapping[str, Any]) -> None:
    """Raise FolderError for a field whose value is another than the supported one, which is what it is when it is missing."""
    for field, value in supported.items():
        if theirs.get(field) not in (None, value):
            raise FolderError(f"config.json: {field}: {theirs[field]} is not supported for {kind} (supported: {value})")


def sides(theirs: Mapping[str, Any], field: str, usual: int) -> tuple[int, int]:
    """Height and width, which may be one number there."""
    value = theirs.get(field, usual)
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


def normed(ours: str, convolution: str, norm: str) -> list[Line]:
    """A convolution without bias and its batch norm, running statistics included."""
    return [Line((f"{ours}.convolution.weight",), f"{convolution}.weight"), *(Line((f"{ours}.norm.{part}",), f"{norm}.{part}") for part in NORM)]

