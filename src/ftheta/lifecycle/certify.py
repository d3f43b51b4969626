"""`certify`: do the equivalences everything rests on hold for this recipe, on this machine?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ftheta.core.errors import Stopped
from ftheta.core.log import logger
from ftheta.lifecycle.bench import Bench
from ftheta.lifecycle.build import refuse_misfits
from ftheta.lifecycle.equivalences import CHECKS, Check, Finding
from ftheta.lifecycle.recipe import load

Verdict = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True)
class Certificate:
    """One equivalence and how well it holds."""

    name: str
    """Which equivalence."""
    what: str
    """What was compared."""
    difference: float | None
    """The largest relative difference seen; None when nothing was compared."""
    tolerance: float
    """The largest allowed; 0 where every bit must be equal."""
    verdict: Verdict
    reason: str = ""
    """Why it does not apply, or what went wrong."""

    @property
    def failed(self) -> bool:
        return self.verdict == "failed"

    @property
    def exact(self) -> bool:
        """Whether there is no difference at all."""
        return self.difference == 0.0

    def __str__(self) -> str:
        return " · ".join(part for part in row(self) if part)


def certify(recipe: str | Path | Mapping[str, Any], *, changes: Sequence[str] | Mapping[str, Any] = ()) -> list[Certificate]:
    """Try every equivalence on a small run of the recipe. Raises ConfigError or DataError when the recipe cannot be run at all."""
    parsed = load(recipe, changes)
    refuse_misfits(parsed)
    before = torch.get_num_threads()
    if parsed.train.threads:
        torch.set_num_threads(parsed.train.threads)
    try:
        bench = Bench.of(parsed)
        found: list[Certificate] = []
        for name, check in CHECKS.items():
            logger.info("certifying: %s ...", name)
            found += examine(name, check, bench)
        return found
    finally:
        torch.set_num_threads(before)


def examine(name: str, check: Check, bench: Bench) -> list[Certificate]:
    """The certificates of one check. One that breaks has failed, and says how."""
    found: list[Certificate] = []
    try:
        for finding in check(bench):
            found.append(judged(name, finding))
    except Stopped:
        raise
    except Exception as error:                                                            # the other checks must still be made
        found.append(Certificate(name, "", None, 0.0, "failed", f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"))
    return found


def judged(name: str, finding: Finding) -> Certificate:
    if finding.difference is None:
        return Certificate(name, finding.what, None, finding.tolerance, "not applicable", finding.reason)
    holds = finding.difference <= finding.tolerance                                       # false for what is not a number
    return Certificate(name, finding.what, finding.difference, finding.tolerance, "passed" if holds else "failed", finding.reason)


HEADER = ("equivalence", "compared", "largest difference", "allowed", "verdict", "")


def row(certificate: Certificate) -> tuple[str, ...]:
    """A certificate as cells of a table."""
    seen = "" if certificate.difference is None else "none, bit-equal" if certificate.exact else f"{certificate.difference:.1e}"
    allowed = "" if certificate.difference is None else f"{certificate.tolerance:.0e}" if certificate.tolerance else "none"
    return (certificate.name, certificate.what, seen, allowed, certificate.verdict, certificate.reason)


def show(certificates: Sequence[Certificate]) -> str:
    """All certificates as a plain table."""
    rows = [HEADER, *(row(certificate) for certificate in certificates)]
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(HEADER) - 1)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), cells[-1]]).rstrip() for cells in rows)
