"""The ecosystem's names for what is ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core.errors import FolderError
from ftheta.interop import FAMILIES
from ftheta.interop.mapping import Family, Line


def expressed(config: ArchitectureConfig) -> tuple[str, dict[str, Any], list[Line]] | None:
    """The outside family that can say this config, its `config.json` and its table; None when there is none."""
    for name in FAMILIES.names():
        family: Family = FAMILIES.load(name)()
        theirs = family.export_config(config)
        if theirs is not None:
            return name, theirs, list(family.lines(config))
    return None


def table(config: ArchitectureConfig) -> list[Line]:
    """Our parameters and theirs, line by line; under our own names when the ecosystem has none for the composition."""
    outside = expressed(config)
    if outside:
        return outside[2]
    with torch.device("meta"):
        plain = config.build()
    return [Line((name,), name) for name in plain.theta()]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises FolderError."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FolderError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise FolderError(f"{path} does not hold a JSON object")
    return value
