"""Looking into the stages of a corpus: some documents, those that hold a text, what a stage changed, and where a document came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftheta.core.atomic import read_manifest
from ftheta.core.errors import UsageError, suggest
from ftheta.core.random import key
from ftheta.data.corpus.corpus import Corpus, Stage
from ftheta.data.corpus.shards import read_documents
from ftheta.data.documents import Document
from ftheta.data.split import SPLITS

AROUND = 60
"""Characters shown on both sides of what was looked for."""


@dataclass(frozen=True)
class Found:
    """A document and the shard that it stands in."""

    document: Document
    shard: Path
    split: str = ""


def documents_of(corpus: Corpus, stage: str) -> Iterator[Found]:
    """Every document of a stage in order. Raises UsageError for a stage that is not there."""
    refuse_unknown(stage, [one.name for one in corpus.stages])
    chosen = corpus.stage(stage)
    for file, split in files(chosen):
        for document in read_documents(file):
            yield Found(document, file, split)


def refuse_unknown(stage: str, names: Sequence[str]) -> None:
    if stage not in names:
        raise UsageError(f"there is no stage '{stage}'{suggest(stage, names, 'stages')}")


def files(stage: Stage) -> Iterator[tuple[Path, str]]:
    if stage.name == "divide":
        yield from ((folder / f"{split}.parquet", split) for folder in stage.folders for split in SPLITS)
    else:
        yield from ((file, "") for file in stage.files)


def sample(corpus: Corpus, stage: str, rows: int, seed: int = 0) -> list[Found]:
    """Some documents drawn without regard to their order: those whose names hash lowest."""
    kept: list[tuple[int, int, Found]] = []
    for place, found in enumerate(documents_of(corpus, stage)):
        kept.append((key(seed, "sample", found.document.name), place, found))
        if len(kept) > 4 * rows + 64:
            kept = sorted(kept, key=lambda item: item[:2])[:rows]
    return [found for _, _, found in sorted(kept, key=lambda item: item[:2])[:rows]]


def search(corpus: Corpus, stage: str, text: str, rows: int) -> Iterator[tuple[Found, str]]:
    """The first documents that hold a text or are called so, with what stands around it."""
    left = rows
    for found in documents_of(corpus, stage):
        place = found.document.text.find(text)
        if place < 0 and text not in found.document.name:
            continue
        start = max(0, place - AROUND)
        yield found, found.document.text[start : max(place, 0) + len(text) + AROUND]
        left -= 1
        if not left:
            return


def changes(corpus: Corpus, before: str, after: str, rows: int) -> Iterator[tuple[str, str]]:
    """The first documents that differ between two stages, by name: a unified difference, or that it is gone. Raises UsageError."""
    names = [one.name for one in corpus.stages]
    for name in (before, after):
        refuse_unknown(name, names)
    if names.index(before) >= names.index(after):
        raise UsageError(f"--from {before} --to {after}: the second stage has to come later; in order they are {', '.join(names)}")
    if after == "divide":                                                                 # which leaves every document as it is, in another order
        after = corpus.stages[-2].name
    later = documents_of(corpus, after)
    following = next(later, None)
    left = rows
    for found in documents_of(corpus, before):
        now: str | None = None
        if following is not None and following.document.name == found.document.name:      # stages keep the order, so what is not next is gone
            now, following = following.document.text, next(later, None)
        if now == found.document.text:
            continue
        yield found.document.name, "left out" if now is None else difference(found.document.text, now)
        left -= 1
        if not left:
            return


def difference(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1)
    return "\n".join(list(lines)[2:])


def is_of(document: str, file: str) -> bool:
    """Whether a document was read from a file: it is called like it, or after the row or the member that it was there."""
    return document == file or document.startswith((f"{file}:", f"{file}/"))


def lineage(corpus: Corpus, name: str) -> list[str]:
    """The shards that a document went through, from the file it was read from, whose content is hashed, to its split."""
    lines = []
    for stage in corpus.stages:
        for file, split in files(stage):
            if any(document.name == name for document in read_documents(file)):
                made = read_manifest(file.parent)
                if stage.name == "read":
                    held = {one[0]: one[1] for one in made["key"]["step"]["files"]}            # a large file is there once for each range
                    lines += [f"file {file_name}: content {content}" for file_name, content in held.items() if is_of(name, file_name)]
                lines.append(f"{stage.name}: {file.parent.parent.name}/{file.parent.name}/{file.name}{f' ({split})' if split else ''}")
                break
        else:
            lines.append(f"{stage.name}: left out")
            break
    return lines
