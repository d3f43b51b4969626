"""The reading of a part: some files of a source, or a stretch of one, as shards of documents, with every row accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ftheta.core.atomic import Attempt, digest_file
from ftheta.core.config import Slot
from ftheta.core.errors import DataError
from ftheta.data.corpus.account import Tally
from ftheta.data.corpus.shards import ACCOUNT, shard_name, write_documents
from ftheta.data.corpus.source import DocumentSource
from ftheta.data.corpus.step import Step
from ftheta.data.documents import Document
from ftheta.data.read.account import Account
from ftheta.data.read.stores import filesystem, is_url
from ftheta.data.read.walk import File
from ftheta.data.sources import SOURCES

PART = 16 << 20
"""Bytes of files that are read together."""
SHARD = 32 << 20
"""Characters of text after which a shard is full."""
ROWS = "rows.json"


class Read(Step):
    """Files → shards `documents-N.parquet`."""

    kind: Literal["read"] = "read"
    source: dict[str, Any]
    """The source, as the recipe says it."""
    files: tuple[File, ...]
    """What of it is read here."""
    contents: tuple[str, ...]
    """What each file is recognised by."""

    def key(self) -> Mapping[str, Any]:
        """Where a file lies does not matter, what it holds does."""
        files = [[file.name, content, file.start, file.end] for file, content in zip(self.files, self.contents, strict=True)]
        return {"source": self.source, "files": files}

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        source = Slot(SOURCES).parse(self.source)
        assert isinstance(source, DocumentSource)
        account, tally = Account(), Tally()

        def documents() -> Iterator[Document]:
            for file, content in zip(self.files, self.contents, strict=True):
                for document in source.read(file, account):
                    tally.add(document)
                    yield document
                if content_of(file) != content:
                    raise DataError(f"{file.path} changed while it was read: run the same command again when it is whole")

        number = 0
        for number, shard in enumerate(cut(documents())):
            write_documents(attempt, shard_name(number), shard)
        attempt.write_json(ROWS, account.dump())
        attempt.write_json(ACCOUNT, {"shards": number + 1, **tally.dump()})


def cut(documents: Iterator[Document]) -> Iterator[Iterator[Document]]:
    """The same documents in runs of about SHARD characters, one at least."""
    following: Document | None = next(documents, None)
    begun = False

    def run() -> Iterator[Document]:
        nonlocal following
        size = 0
        while following is not None and size < SHARD:
            document = following
            size += len(document.text)
            following = next(documents, None)
            yield document

    while following is not None or not begun:
        begun = True
        yield run()


def rows_of(folders: Sequence[Path]) -> Account:
    """The account of the rows of several parts."""
    total = Account()
    for folder in folders:
        total.add(Account.load(json.loads((folder / ROWS).read_text())))
    return total


def content_of(file: File) -> str:
    """What a file is recognised by: a hash of what it holds, or what a store says of it. Raises DataError when it is not there."""
    if is_url(file.path):
        found, place = filesystem(file.path)
        return str(found.ukey(place))
    try:
        return digest_file(Path(file.path))
    except OSError as error:
        raise DataError(f"{file.path} cannot be read: {error.strerror}") from None


def parts(source: DocumentSource) -> Iterator[tuple[str, Read]]:
    """Everything a source reads, in parts of about PART bytes, each with the name of the source within the source that it is of."""
    held: list[File] = []
    contents: dict[str, str] = {}

    def part() -> tuple[str, Read]:
        for file in held:
            contents.setdefault(file.path, content_of(file))
        return source.origin(held[0]), Read(source=source.dump(), files=tuple(held), contents=tuple(contents[file.path] for file in held))

    for file in source.files():
        if held and (source.origin(file) != source.origin(held[0]) or sum(one.size for one in held) + file.size > PART):
            yield part()
            held = []
        held.append(file)
    if held:
        yield part()
