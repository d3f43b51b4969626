"""Real texts, and copies of them with the edits that copies have."""

from __future__ import annotations

import os
import random
import re
import tarfile
from collections.abc import Callable
from pathlib import Path


def retyped(text: str, draws: random.Random) -> str:
    """Other white space, capitals and signs."""
    return text.replace(" ", "  ", 3).replace('"', "”").replace(", ", " , ").replace("，", ",").upper()


def words_changed(text: str, draws: random.Random) -> str:
    """One word of 50 is another one."""
    return changed(text, 0.02, draws)


def inserted(text: str, draws: random.Random) -> str:
    """A notice before and after."""
    return "Copied from a page of the web.\n" + text + "\nShare this: all rights reserved."


def truncated(text: str, draws: random.Random) -> str:
    """The last eighth is missing."""
    return text[: len(text) - len(text) // 8]


def part_lost(text: str, draws: random.Random) -> str:
    """A tenth, somewhere, is missing."""
    pieces = units(text)
    size = max(1, len(pieces) // 10)
    at = draws.randrange(len(pieces) - size)
    return joined(pieces[:at] + pieces[at + size :], text)


EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "retyped": retyped, "words changed": words_changed, "inserted": inserted, "truncated": truncated, "part lost": part_lost,
}


def changed(text: str, share: float, draws: random.Random) -> str:
    """That share of the words, one at least, are others, each a new one."""
    pieces = units(text)
    for at in draws.sample(range(len(pieces)), min(len(pieces), max(1, round(len(pieces) * share)))):
        pieces[at] = f"x{draws.randrange(10**6)}" if spaced(text) else chr(draws.randrange(0x4E00, 0x9F00))
    return joined(pieces, text)


def spaced(text: str) -> bool:
    """Whether there are spaces between its words."""
    return text.count(" ") > len(text) // 20


def units(text: str) -> list[str]:
    return text.split(" ") if spaced(text) else list(text)


def joined(pieces: list[str], text: str) -> str:
    return (" " if spaced(text) else "").join(pieces)


# texts


def classics(count: int, words: int = 100) -> list[str]:
    """So many pieces of English classics, of paragraphs up to `words` words at least; none twice."""
    found: dict[str, None] = {}
    with tarfile.open(Path(os.environ["FTHETA_MIRROR"]) / "english_classics" / "books_small.tar.xz") as books:
        for book in books:
            file = books.extractfile(book) if book.name.endswith(".md") else None
            piece: list[str] = []
            for paragraph in re.split(r"\n\s*\n", file.read().decode("utf-8", "replace")) if file else ():
                piece.append(paragraph)
                if sum(len(part.split()) for part in piece) >= words:
                    found["\n\n".join(piece)] = None
                    piece = []
            if len(found) >= count:
                break
    return list(found)[:count]


def reviews(count: int, shortest: int = 150) -> list[str]:
    """So many Chinese reviews of that many characters at least; none twice."""
    lines = (Path(os.environ["FTHETA_MIRROR"]) / "chnsenticorp" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return list(dict.fromkeys(text for line in lines if len(text := line.split("\t", 1)[1]) >= shortest))[:count]
