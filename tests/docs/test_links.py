"""Every link and picture of the documentation leads somewhere in the checkout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import ROOT, name, pages

LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s]+)\)")
CODE = re.compile(r"^(```+).*?^\1$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub(lambda m: m[0].strip("`") if "\n" not in m[0] else "", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path):
    wrong = []
    for link in LINK.findall(CODE.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or ROOT not in (target, *target.parents) or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong
