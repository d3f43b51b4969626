"""Names and layouts of parameters in outside files, as one table of invertible lines per family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core.errors import FolderError


class Line(NamedTuple):
    """Our tensors and the one outside tensor they are: stacked along the first dimension if several, then transposed if so stored,
    or, a vector, made a matrix of one row."""

    ours: tuple[str, ...]
    theirs: str
    transpose: bool = False
    row: bool = False


class Family(ABC):
    """An outside family: which of our compositions it can express, and how."""

    @abstractmethod
    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        """Their `config.json` for our config; None when they have no name for this composition."""

    @abstractmethod
    def import_config(self, theirs: Mapping[str, Any]) -> ArchitectureConfig:
        """Our config for their `config.json`. Raises FolderError naming a field that is not supported."""

    @abstractmethod
    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        """The table, placeholders filled in."""

    def tidied(self, values: Mapping[str, Tensor], lines: Sequence[Line]) -> dict[str, Tensor]:
        """The tensors of one of their files under today's names, without those that say nothing new beside the lines of the table."""
        return dict(values)


def pairs(names: Mapping[str, str], *parts: str) -> list[Line]:
    """Lines of modules with these parameters."""
    return [Line((f"{ours}.{part}",), f"{theirs}.{part}") for ours, theirs in names.items() for part in parts]


def numbered(lines: Sequence[Line], depth: int) -> list[Line]:
    """Lines that mention `{i}`, once for every layer; the others once."""
    found: list[Line] = []
    for line in lines:
        if "{i}" not in line.theirs:
            found.append(line)
            continue
        for i in range(depth):
            found.append(line._replace(ours=tuple(name.replace("{i}", str(i)) for name in line.ours), theirs=line.theirs.replace("{i}", str(i))))
    return found


def to_theirs(lines: Sequence[Line], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our named tensors under their names and layouts. Every tensor must have a line."""
    result = {}
    for line in lines:
        value = values[line.ours[0]] if len(line.ours) == 1 else torch.cat([values[name] for name in line.ours])
        value = value[None] if line.row else value
        result[line.theirs] = value.t().contiguous() if line.transpose and value.ndim == 2 else value
    if missed := values.keys() - {name for line in lines for name in line.ours}:
        raise KeyError(f"no line for {sorted(missed)}")
    return result


def to_ours(lines: Sequence[Line], values: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their named tensors under our names; what has no line is kept under its own, for the strict check that follows."""
    result: dict[str, Tensor] = {}
    used = set()
    for line in lines:
        if line.theirs not in values:
            continue
        used.add(line.theirs)
        value = values[line.theirs]
        value = value.flatten() if line.row and len(value) == 1 else value
        value = value.t().contiguous() if line.transpose and value.ndim == 2 else value
        sizes = [wanted[name].shape[0] if wanted[name].ndim else 1 for name in line.ours]
        if len(line.ours) > 1 and value.shape[0] != sum(sizes):
            raise FolderError(f"tensor '{line.theirs}' has shape {tuple(values[line.theirs].shape)}, expected {sum(sizes)} rows for {', '.join(line.ours)}")
        result.update(zip(line.ours, value.split(sizes) if len(line.ours) > 1 else [value], strict=True))
    return {**result, **{name: value for name, value in values.items() if name not in used}}
