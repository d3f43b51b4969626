"""`ftheta doctor`: what is wrong with this installation?"""

from __future__ import annotations

import typer

import ftheta


def doctor() -> None:
    """Look over versions, extras, compiler, memory, folders and speed.

    Example: ftheta doctor
    """
    findings = ftheta.doctor()
    for finding in findings:
        print(f"{'ok ' if finding.well else 'BAD'}  {finding.subject:16} {finding.detail}")
    if not all(finding.well for finding in findings):
        raise typer.Exit(1)
