"""Every error a user can meet, with the exit code the command line gives for it.

An error names the place (file, field or line), the value, what was expected and the nearest valid choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class FthetaError(Exception):
    """Something failed for a reason the user can act on."""

    exit_code = 1


class UsageError(FthetaError):
    """The arguments or the recipe are wrong; nothing was run."""

    exit_code = 2


class DataError(FthetaError):
    """A source is missing, unreadable, empty, changed or malformed."""


class FolderError(FthetaError):
    """A model or run folder is incomplete, corrupted, foreign or in use."""


class DamagedError(FthetaError):
    """Something stored is no longer what was written; running the same command again makes it anew."""


class NonFiniteError(FthetaError):
    """A loss or a gradient was not a finite number."""


class Stopped(FthetaError):
    """The run was asked to stop, has saved its state and can be continued."""

    exit_code = 143


class MissingExtraError(UsageError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(f"{purpose} needs the package '{package}': pip install 'ftheta[{extra}]'")


class Problem(NamedTuple):
    """One thing wrong with a configuration, at a path such as `('train', 'optimizer', 'betta')`."""

    path: tuple[str | int, ...]
    message: str

    def __str__(self) -> str:
        place = ".".join(str(part) for part in self.path)
        return f"{place}: {self.message}" if place else self.message


class ConfigError(UsageError, ValueError):
    """A recipe or configuration that cannot be accepted; holds every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem], source: str = ""):
        self.problems = list(problems)
        self.source = source
        lines = [str(problem) for problem in self.problems]
        head = f"{source}: " if source else ""
        super().__init__(head + (lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} problems", *lines])))


def distance(a: str, b: str) -> int:
    """Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice a typist most likely meant, or None when nothing is close."""
    ranked = sorted((distance(name.lower(), choice.lower()), choice) for choice in choices)
    if ranked and ranked[0][0] <= max(1, (len(name) + 1) // 2):
        return ranked[0][1]
    return None


def suggest(name: str, choices: Iterable[str], plural: str = "choices") -> str:
    """The tail of an error message: `; did you mean 'x'? (choices: x, y, z)`."""
    known = sorted(choices)
    near = nearest(str(name), known)
    return (f"; did you mean '{near}'?" if near else "") + (f" ({plural}: {', '.join(known)})" if known else "")
