"""Catalogues: explicit tables from a name to the place of a class, loaded when used.

A file can only ever say a name that stands in one of these tables, so nothing in a file is imported or evaluated.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

from ftheta.core.errors import ConfigError, Problem, suggest


class Catalogue:
    """Named classes of one sort ("mixer", "objective"), each given as `module:Class`; `gone` says what is written instead of a name that was there once."""

    def __init__(self, sort: str, entries: Mapping[str, str], gone: Mapping[str, str] | None = None):
        self.sort = sort
        self.entries = dict(entries)
        self.gone = dict(gone or {})

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __or__(self, other: Catalogue) -> Catalogue:
        return Catalogue(self.sort, {**self.entries, **other.entries}, {**self.gone, **other.gone})

    def names(self) -> list[str]:
        return sorted(self.entries)

    def load(self, name: str) -> type:
        """The class called `name`. Raises ConfigError with the nearest name when there is none."""
        if name in self.gone:
            raise ConfigError([Problem((), f"'{name}' is no longer a {self.sort}: {self.gone[name]}")])
        if name not in self.entries:
            plural = f"{self.sort}s"
            raise ConfigError([Problem((), f"'{name}' is not a known {self.sort}{suggest(name, self.entries, plural)}")])
        module, _, attribute = self.entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)


def numbered(names: Sequence[str]) -> list[str]:
    """The same names, with a number where one comes several times."""
    return [name + (f"-{names[:place].count(name) + 1}" if name in names[:place] else "") for place, name in enumerate(names)]
