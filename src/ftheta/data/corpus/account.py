"""Counting what happens to documents, so that the counts of many shards add up to those of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ftheta.data.documents import Document

EXAMPLES = 3
"""How many examples of a thing are kept."""
SHOWN = 160
"""Characters of an example."""
COUNTED = ("source", "language", "code", "licence", "consent", "encoding", "format")
"""Facts of few values, each of which is counted."""


def merged(accounts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers summed, lists cut after EXAMPLES, what is within gone through alike."""
    total: dict[str, Any] = {}
    for account in accounts:
        for name, value in account.items():
            if isinstance(value, Mapping):
                total[name] = merged([total.get(name, {}), value])
            elif isinstance(value, list):
                total[name] = [*total.get(name, []), *value][:EXAMPLES]
            else:
                total[name] = total.get(name, 0) + value
    return total


class Tally:
    """What a shard's documents have in common and how they differ."""

    def __init__(self) -> None:
        self.documents = 0
        self.bytes = 0
        self.facts: dict[str, dict[str, int]] = {}
        self.numbers: dict[str, dict[str, int]] = {}

    def add(self, document: Document) -> None:
        size = len(document.text.encode("utf-8", "surrogatepass"))
        self.documents += 1
        self.bytes += size
        self.number("bytes", size)
        for name, value in document.facts.items():
            if isinstance(value, str):
                if name in COUNTED:
                    counts = self.facts.setdefault(name, {})
                    counts[value] = counts.get(value, 0) + 1
            else:
                self.number(name, value)

    def number(self, name: str, value: float) -> None:
        """Numbers are counted by their first two digits, so that any range of them makes a picture."""
        counts = self.numbers.setdefault(name, {})
        place = f"{float(f'{value:.2g}'):g}"
        counts[place] = counts.get(place, 0) + 1

    def dump(self) -> dict[str, Any]:
        return {"documents": self.documents, "bytes": self.bytes, "facts": self.facts, "numbers": self.numbers}


def example(document: Document) -> dict[str, Any]:
    """A document as an example: its name and its beginning."""
    return {"name": document.name, "start": document.text.strip()[:SHOWN]}
