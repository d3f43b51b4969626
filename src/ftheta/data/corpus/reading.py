"""The reading of a part: some files of a source, or a stretch of one, as shards of documents, with every row accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ftheta.core.atomic import Attempt
from ftheta.core.config import Slot
from ftheta.core.errors import DataError
from ftheta.data.corpus.account import Tally
from ftheta.data.corpus.contents import Content, content_of, stamp_of
from ftheta.data.corpus.shards import ACCOUNT, shard_name, write_documents
from ftheta.data.corpus.source import DocumentSource
from ftheta.data.corpus.step import Step
from ftheta.data.documents import Document
from ftheta.data.read.account import Account
from ftheta.data.read.walk import File
from ftheta.data.sources import SOURCES
from ftheta.data.stages import intact

PART = 16 << 20
"""Bytes of files that are read together."""
SHARD = 24 << 20
"""Bytes of text after which a shard is full."""
ROWS = "rows.json"
BAD = "bad.jsonl"
"""Bad rows, if the source is to list them."""


class FilesStep(Step):
    """A step that reads files of a source."""

    source: dict[str, Any]
    """The source, as the recipe says it."""
    files: tuple[File, ...]
    """What of it is read here."""
    contents: tuple[Content, ...]
    """What each file is recognised by."""

    def key(self) -> Mapping[str, Any]:
        """Where a file lies does not matter, what it holds does."""
        files = [[file.name, content.hash, file.start, file.end] for file, content in zip(self.files, self.contents, strict=True)]
        return {"source": self.source, "files": files}

    def each(self) -> Iterator[File]:
        """Every file, to be read before the next one is asked for. Raises DataError where one has changed meanwhile."""
        for file, content in zip(self.files, self.contents, strict=True):
            yield file
            if stamp_of(file.path) != content.stamp:
                raise DataError(f"{file.path} changed while it was read: run the same command again when it is whole")


class Read(FilesStep):
    """Files → shards `documents-N.parquet`."""

    kind: Literal["read"] = "read"

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        source = Slot(SOURCES).parse(self.source)
        assert isinstance(source, DocumentSource)
        account, tally = Account(), Tally()

        def documents() -> Iterator[Document]:
            for file in self.each():
                for document in source.read(file, account):
                    tally.add(document)
                    yield document

        number = 0
        for number, shard in enumerate(cut(documents())):
            write_documents(attempt, shard_name(number), shard)
        attempt.write_json(ROWS, account.dump())
        attempt.write(BAD, *account.lines())
        attempt.write_json(ACCOUNT, {"shards": number + 1, **tally.dump()})


def cut(documents: Iterator[Document]) -> Iterator[Iterator[Document]]:
    """The same documents in runs of about SHARD bytes, one at least."""
    following: Document | None = next(documents, None)
    begun = False

    def run() -> Iterator[Document]:
        nonlocal following
        size = 0
        while following is not None and size < SHARD:
            document = following
            size += len(document.text.encode())
            following = next(documents, None)
            yield document

    while following is not None or not begun:
        begun = True
        yield run()


def rows_of(folders: Sequence[Path]) -> Account:
    """The account of the rows of several parts; the bad ones stay on the disk."""
    total = Account()
    for folder in folders:
        total.add(Account.load(json.loads(intact(folder, ROWS).read_text()), folder / BAD))
    return total


def parts(source: DocumentSource, content: Callable[[str], Content] = content_of) -> Iterator[tuple[str, Read]]:
    """Everything a source reads, in parts of about PART bytes, each with the name of the source within the source that it is of.

    `content` says what a file is recognised by.
    """
    for origin, files, contents in grouped(source.files(), source.origin, content):
        yield origin, Read(source=source.dump(), files=files, contents=contents)


def grouped(
    files: Sequence[File], origin: Callable[[File], str] = lambda file: "", content: Callable[[str], Content] = content_of,
) -> Iterator[tuple[str, tuple[File, ...], tuple[Content, ...]]]:
    """Files of about PART bytes together that are of one origin, and what each is recognised by."""
    held: list[File] = []
    contents: dict[str, Content] = {}

    def part() -> tuple[str, tuple[File, ...], tuple[Content, ...]]:
        for file in held:
            if file.path not in contents:
                contents[file.path] = content(file.path)
        return origin(held[0]), tuple(held), tuple(contents[file.path] for file in held)

    for file in files:
        if held and (origin(file) != origin(held[0]) or sum(one.size for one in held) + file.size > PART):
            yield part()
            held = []
        held.append(file)
    if held:
        yield part()
