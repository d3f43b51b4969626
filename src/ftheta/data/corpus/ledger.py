"""The ledger: how much of each split is from which source, under which licence, on what ground."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ftheta.data.corpus.account import merged
from ftheta.data.documents import Document

FACTS = ("source", "licence", "consent")
"""What documents say of where they are from; what they do not say is None in the ledger."""


class Ledger:
    """Counts of the documents of one split, by what they say of where they are from."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, int]] = {}
        """JSON of the facts → `documents`, `bytes`, `tokens`."""

    def add(self, document: Document, tokens: int) -> None:
        entry = self.entries.setdefault(json.dumps([document.facts.get(fact) for fact in FACTS], ensure_ascii=False), {"documents": 0, "bytes": 0, "tokens": 0})
        entry["documents"] += 1
        entry["bytes"] += len(document.text.encode())
        entry["tokens"] += tokens

    @property
    def bytes(self) -> int:
        return sum(entry["bytes"] for entry in self.entries.values())


def ledger_of(splits: Mapping[str, Iterable[Mapping[str, dict[str, int]]]]) -> list[dict[str, Any]]:
    """One entry for each source, licence and consent, with what every split holds of it, from the entries of all shards."""
    totals = {split: merged(shards) for split, shards in splits.items()}
    known = sorted({key for entries in totals.values() for key in entries}, key=lambda key: [value or "" for value in json.loads(key)])
    return [
        {**dict(zip(FACTS, json.loads(key), strict=True)), "splits": {split: entries[key] for split, entries in totals.items() if key in entries}} for key in known
    ]


def named(entry: Mapping[str, Any]) -> str:
    """An entry in words: the source and its licence, and the ground of its use where that is said."""
    consent = f", {entry['consent']}" if entry["consent"] else ""
    return f"{entry['source'] or 'a source without name'} ({entry['licence'] or 'licence not stated'}{consent})"
