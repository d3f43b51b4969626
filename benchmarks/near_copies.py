"""Real paragraphs, and copies of them with the edits that copies have."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

SENTENCES = re.compile(r"(?<=[.!?。！？])")


def retyped(text: str, draws: random.Random) -> str:
    """Other white space, capitals and quotation marks."""
    return text.replace(" ", "  ", 3).replace('"', "”").replace(",", ", ").replace("，", ",").upper()


def words_changed(text: str, draws: random.Random) -> str:
    """One word of 50 is another one."""
    pieces = units(text)
    for _ in range(max(1, len(pieces) // 50)):
        pieces[draws.randrange(len(pieces))] = draws.choice(("other", "某"))
    return joined(pieces, text)


def inserted(text: str, draws: random.Random) -> str:
    """A notice before and after."""
    return "Copied from a page of the web.\n" + text + "\nShare this: all rights reserved."


def truncated(text: str, draws: random.Random) -> str:
    """The last eighth is missing."""
    return text[: len(text) - len(text) // 8]


def sentence_lost(text: str, draws: random.Random) -> str:
    """The shortest sentence, or an eighth in the middle, is missing."""
    pieces = units(text)
    size = max(1, len(pieces) // 10)
    at = draws.randrange(len(pieces) - size)
    return joined(pieces[:at] + pieces[at + size :], text)


EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "retyped": retyped, "words changed": words_changed, "inserted": inserted, "truncated": truncated, "sentence lost": sentence_lost,
}


def units(text: str) -> list[str]:
    return text.split(" ") if text.count(" ") > len(text) // 20 else list(text)


def joined(pieces: list[str], text: str) -> str:
    return (" " if text.count(" ") > len(text) // 20 else "").join(pieces)
