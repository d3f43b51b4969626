"""The documentation's pages and the snippets in them.

A fenced block marked `sh` or `python` is run, `yaml` that begins with `format:` is checked as a recipe, `text` is output to look at.
A comment `<!-- test: ... -->` on the line before a block, or anywhere for the whole page, says more:

    needs NAME     the page's folder starts with runs/NAME, as a short `ftheta run NAME` leaves it (whole page)
    data NAME      needs the data set NAME: run by `make test-all` and in CI only, where FTHETA_MIRROR is set, in a folder of its own
    slow           run by `make test-all` only, in a folder of its own
    exact          (before `text`) the output of the block above it, to the letter
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(?:<!-- test: (?P<note>.+?) -->\n)?(?P<ticks>```+)(?P<language>\w*)\n(?P<body>.*?)^(?P=ticks)$", re.MULTILINE | re.DOTALL)
WHOLE_PAGE = re.compile(r"^<!-- test: needs (.+?) -->$", re.MULTILINE)


@dataclass
class Snippet:
    """One fenced block."""

    page: Path
    line: int
    language: str
    body: str
    note: tuple[str, ...]
    expected: str | None = None
    """What it must print, where the page says so exactly."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}, line {self.line}"

    @property
    def kind(self) -> str:
        """`quick`, `data` or `slow`."""
        return self.note[0] if self.note and self.note[0] in ("data", "slow") else "quick"


def pages() -> list[Path]:
    return [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def needs(page: Path) -> list[str]:
    """The runs a page's folder starts with."""
    return [run for line in WHOLE_PAGE.findall(page.read_text()) for run in line.split()]


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text()
    found: list[Snippet] = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("ticks")) + 1
        note = tuple((match["note"] or "").split())
        if match["language"] == "text" and note == ("exact",):
            found[-1].expected = match["body"]
        found.append(Snippet(page, line, match["language"], match["body"], note))
    return found
