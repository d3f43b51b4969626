"""docs/compatibility.md shows the matrix as `ftheta list compatibility` prints it today."""

from __future__ import annotations

import ftheta

from .pages import ROOT, snippets


def test_the_matrix_shown_is_todays():
    shown = [snippet.body for snippet in snippets(ROOT / "docs" / "compatibility.md") if snippet.language == "text"]
    assert trimmed(shown[0]) == trimmed(ftheta.listing("compatibility")), "write it anew: see the page's first lines"


def trimmed(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
