"""Documents from files: text, lines, rows of tables, members of archives; `python:stdlib` is the standard library of the running interpreter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from ftheta.core.atomic import write_file
from ftheta.core.errors import DataError
from ftheta.core.log import logger
from ftheta.data.documents import Document
from ftheta.data.read.account import ENOUGH, Account, Bad, BadRow, Policy
from ftheta.data.read.archives import Entry, entries
from ftheta.data.read.formats import READERS, Format, Wanted, format_of
from ftheta.data.read.lines import Caps
from ftheta.data.read.streams import PACKED, head, store
from ftheta.data.read.walk import File, matches, walk
from ftheta.data.stages import digest, home
from ftheta.data.text import TextSource

Columns = str | int | tuple[str | int, ...]


class TextFiles(TextSource):
    """Every matching file, row of a table or line of JSON, packed and in archives or not, is a document."""

    kind: Literal["text_files"] = "text_files"
    path: str | tuple[str, ...]
    """A folder, a file, a pattern such as `data/**/*.jsonl`, `data:NAME/FILE` (a named data set), `python:stdlib`, or a list of these."""
    include: tuple[str, ...] = ("**/*",)
    """Patterns of files to take, relative to the folder, or to the archive for its members."""
    exclude: tuple[str, ...] = ()
    """Patterns of files to leave out."""
    format: Format | None = None
    """How every file is read, whatever it is called; none: by its ending and its first bytes. `lines`: every line is a document."""
    text: Columns = "text"
    """The column or field of a row that holds the text; several are joined by line ends."""
    facts: tuple[str | int, ...] = ()
    """Columns or fields of a row that go with the document as facts: url, licence, ..."""
    header: bool = True
    """Whether the first line of a table names its columns; if not they are called 1, 2, 3, ..."""
    on_bad: Policy = "error"
    """What to do with a row, or a file, that cannot be used: stop, leave it out, or leave it out and list it in the quarantine file."""
    most_bad: float = Field(0.001, ge=0, le=1)
    """Share of bad rows above which the run stops whatever `on_bad` says. A file whose text is one document is one row."""
    quarantine: str | None = None
    """Where bad rows are listed, with file, byte offset and reason; none: a file in the cache, named at the end."""
    largest: int = Field(default=64 << 20, gt=0)
    """Bytes; a larger file is bad, unless it is read row by row."""

    def files(self) -> list[File]:
        """Matching files in a fixed order. Raises DataError when there is none."""
        paths = (self.path,) if isinstance(self.path, str) else self.path
        listing = self.listing().resolve()
        found = [file for file in walk(paths, self.include, self.exclude) if Path(file.path).resolve() != listing]
        if not found:
            raise DataError(f"data.source.path: no file in {', '.join(paths)}")
        return found

    def listing(self) -> Path:
        return Path(self.quarantine).expanduser() if self.quarantine else home() / "quarantine" / f"{digest(self.dump())[:16]}.jsonl"

    def wanted(self, file: File) -> Wanted:
        columns = self.text if isinstance(self.text, tuple) else (self.text,)
        return Wanted(
            tuple(str(name) for name in columns), tuple(str(name) for name in self.facts), self.header, Caps(file=self.largest), file.start, file.end,
        )

    def read(self, file: File, account: Account) -> Iterator[Document]:
        """The documents of one file. Raises DataError for the first bad row (policy `error`) or for too many of them."""
        wanted = self.wanted(file)
        try:
            stored = store(file.path)
        except BadRow as reason:
            account.refuse(Bad(file.name, None, 0, 0, str(reason)), self.on_bad)
            return
        with stored:
            for entry in entries(file.name, stored, wanted.caps):
                if entry.name == file.name or (matches(member := entry.name.removeprefix(f"{file.name}/"), self.include) and not matches(member, self.exclude)):
                    yield from self.entry(entry, wanted, account)

    def entry(self, entry: Entry, wanted: Wanted, account: Account) -> Iterator[Document]:
        """The documents of a file that is no archive, or of a member of one."""
        try:
            if entry.stream is None:
                raise BadRow(entry.reason)
            if not (first := head(entry.stream)):
                account.blank += 1
                return
            plain = entry.name
            for ending in PACKED.values():
                plain = plain.removesuffix(ending)
            found, noticed = (self.format, "") if self.format else format_of(plain, first)
            if noticed:
                account.noticed[noticed] += 1
            for row in READERS[found](entry.stream, wanted):
                if row.reason:
                    start = row.start.decode("utf-8", "backslashreplace")
                    account.refuse(Bad(entry.name, row.number, row.offset, row.size, row.reason, start), self.on_bad)
                    if account.rows >= ENOUGH:
                        account.check(self.most_bad)
                elif row.text is None:
                    account.blank += 1
                else:
                    account.good += 1
                    yield Document(f"{entry.name}:{row.place}" if row.place else entry.name, row.text, row.facts)
        except BadRow as reason:
            account.refuse(Bad(entry.name, None, 0, 0, str(reason)), self.on_bad)

    def finish(self, accounts: Mapping[str, Account]) -> None:
        [account] = accounts.values()
        if self.on_bad == "quarantine" and account.records:
            self.listing().parent.mkdir(parents=True, exist_ok=True)
            write_file(self.listing(), "".join(json.dumps(vars(bad), ensure_ascii=False) + "\n" for bad in account.records).encode())
        account.check(self.most_bad)
        for what, count in account.noticed.items():
            logger.warning("data.source: %s: %d files, read as what they hold", what, count)
        if account.bad:
            logger.warning("left out: %s%s", account.summary(), f", listed in {self.listing()}" if self.on_bad == "quarantine" else "")
