"""A shard: documents in a Parquet file, in order; `account.json` beside it says what happened to them on the way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.parquet as pq

from ftheta.core.atomic import Attempt
from ftheta.data.documents import Document
from ftheta.data.stages import intact

SCHEMA = pa.schema([("name", pa.string()), ("text", pa.large_string()), ("facts", pa.string())])
GROUP = 4 << 20
"""Bytes of text in a row group: what is in memory at once."""
ACCOUNT = "account.json"
DOCUMENTS = "documents.parquet"


def shard_name(number: int) -> str:
    """The file of one of several shards that were read together."""
    return f"documents-{number:04}.parquet"


def write_documents(attempt: Attempt, name: str, documents: Iterable[Document]) -> None:
    """Documents into a Parquet file of an attempt, a group of rows in memory at a time."""
    attempt.path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(attempt.path / name, SCHEMA, compression="zstd") as writer:
        held: list[Document] = []
        size = 0
        for document in documents:
            held.append(document)
            size += len(document.text)
            if size >= GROUP:
                writer.write_table(table(held))
                held, size = [], 0
        writer.write_table(table(held))
    attempt.adopt(name)


def table(documents: Sequence[Document]) -> pa.Table:
    facts = [json.dumps(document.facts, ensure_ascii=False, sort_keys=True) if document.facts else "" for document in documents]
    return pa.table({"name": [d.name for d in documents], "text": [d.text for d in documents], "facts": facts}, schema=SCHEMA)


def read_documents(file: Path) -> Iterator[Document]:
    """Every document of a shard, in order. Raises DamagedError for a file that is not as it was written."""
    with pq.ParquetFile(intact(file.parent, file.name)) as opened:
        for group in range(opened.num_row_groups):
            columns = opened.read_row_group(group).to_pydict()
            known: dict[str, dict[str, Any]] = {"": {}}                                    # most documents have the same, held once
            for name, text, facts in zip(columns["name"], columns["text"], columns["facts"], strict=True):
                if facts not in known:
                    known[facts] = json.loads(facts)
                yield Document(name, text, known[facts])


def account_of(folder: Path) -> dict[str, Any]:
    return json.loads(intact(folder, ACCOUNT).read_text())


class StoredTexts(Sequence[str]):
    """The texts of some shards, read when they are looked at."""

    def __init__(self, files: Sequence[Path]):
        self.files = list(files)
        self.size = sum(pq.read_metadata(file).num_rows for file in self.files)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[str]:
        for file in self.files:
            with pq.ParquetFile(intact(file.parent, file.name)) as opened:
                for group in range(opened.num_row_groups):
                    yield from opened.read_row_group(group, columns=["text"]).column("text").to_pylist()

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        wanted = range(self.size)[index]
        if isinstance(wanted, int):
            return next(text for place, text in enumerate(self) if place == wanted)
        if not wanted:
            return []
        places, found = set(wanted), {}
        for place, text in enumerate(self):
            if place in places:
                found[place] = text
            if len(found) == len(places):
                break
        return [found[place] for place in wanted]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)
