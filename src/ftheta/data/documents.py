"""A document: the unit that text is collected, cleaned, compared and split by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Fact = str | int | float


class Document(NamedTuple):
    """One text, where it came from, and what is known of it."""

    name: str
    """Its file, and its place in there if the file holds several; no two documents of a source have the same."""
    text: str
    facts: Mapping[str, Fact] = {}
    """What the source says of it and what cleaning found out: `source`, `language`, `licence`, `url`, ..."""
