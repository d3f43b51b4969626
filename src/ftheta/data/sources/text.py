"""Documents from files: text, lines, rows of tables, members of archives; `python:stdlib` is the standard library of the running interpreter."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, model_validator

from ftheta.core.errors import ConfigError, DataError, Problem
from ftheta.data.catalogue import NAMED
from ftheta.data.catalogue import entries as named_sets
from ftheta.data.documents import Document, Fact
from ftheta.data.read.account import ENOUGH, Account, Bad
from ftheta.data.read.archives import Entry, entries
from ftheta.data.read.bad import BadFile, BadRow
from ftheta.data.read.encodings import in_utf8
from ftheta.data.read.formats import CODE, CUTTABLE, ENCODED, READERS, Format, ending, format_of
from ftheta.data.read.lines import Caps
from ftheta.data.read.row import Wanted
from ftheta.data.read.stores import stamp, store
from ftheta.data.read.streams import head, is_packed
from ftheta.data.read.walk import File, matches, walk
from ftheta.data.sources.counted import Counted
from ftheta.data.text import TextSource

PART = 64 << 20
"""Bytes of a file of lines that are read together; a longer one is cut."""
PEEK = 4096
Columns = str | int | tuple[str | int, ...]


class TextFiles(TextSource, Counted):
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
    inside: str | None = None
    """Of JSON files, the fields in which the rows lie, outermost first: `data.paragraphs` (SQuAD). A row has the texts and numbers of what holds it, too."""
    header: bool = True
    """Whether the first line of a table names its columns; if not they are called 1, 2, 3, ..."""
    encoding: str = "utf-8"
    """What text is written in: `utf-8`, another name, or `detect`: UTF-8 if a file begins so, else what it looks like, kept as the fact `encoding`."""
    called: str | None = None
    """The name of the source, which its documents have as the fact `source`."""
    licence: str | None = None
    """The licence its documents are under, a fact of each; none: that of the named data set, if it is one."""
    consent: str | None = None
    """On what ground they may be used, a fact of each."""
    language: str | None = None
    """The language they are in, where it is known: a fact of each."""
    largest: int = Field(default=64 << 20, gt=0)
    """Bytes; a larger file is bad, unless it is read row by row."""

    @model_validator(mode="after")
    def fits(self) -> TextFiles:
        try:
            "".encode("utf-8" if self.encoding == "detect" else self.encoding)
        except LookupError:
            expected = "utf-8, detect, or a name such as gb18030, big5, shift_jis, utf-16, latin-1"
            raise ConfigError([Problem(("encoding",), f"'{self.encoding}' is no encoding of text; expected {expected}")]) from None
        return self

    def files(self) -> list[File]:
        """Matching files in a fixed order, large ones of lines in parts. Raises DataError when there is none."""
        paths = (self.path,) if isinstance(self.path, str) else self.path
        listing = os.path.realpath(self.listing())
        found = [part for file in walk(paths, self.include, self.exclude) if os.path.realpath(file.path) != listing for part in self.parts(file)]
        if not found:
            raise DataError(f"data.source.path: no file in {', '.join(paths)}")
        return found

    def parts(self, file: File) -> list[File]:
        """The file, or, if it is large and its lines can be read from anywhere, the ranges of it."""
        if file.size <= PART or self.encoding != "utf-8":
            return [file]
        try:
            with store(file.path) as stored:
                first = stored.read(PEEK)
                cuttable = stored.seekable() and not is_packed(first) and (self.format or format_of(file.name, first)[0]) in CUTTABLE
        except BadFile:                                                                   # which is said when it is read
            return [file]
        if not cuttable:
            return [file]
        starts = range(0, file.size, PART)
        return [file._replace(start=start, end=min(start + PART, file.size), size=min(PART, file.size - start)) for start in starts]

    def wanted(self, file: File) -> Wanted:
        columns = self.text if isinstance(self.text, tuple) else (self.text,)
        caps = Caps(file=self.largest)
        inside = tuple(self.inside.split(".")) if self.inside else ()
        return Wanted(tuple(map(str, columns)), tuple(map(str, self.facts)), inside, self.header, self.encoding, caps, file.start, file.end)

    def read(self, file: File, account: Account) -> Iterator[Document]:
        """The documents of one file. Raises DataError for the first bad row (policy `error`) or for too many of them."""
        wanted = self.wanted(file)
        try:
            before = stamp(file.path)
            with store(file.path) as stored:
                for entry in entries(file.name, stored, wanted.caps):
                    if entry.name == file.name or self.takes(entry.name.removeprefix(f"{file.name}/")):
                        yield from self.entry(entry, wanted, account)
            if stamp(file.path) != before:
                raise BadFile("changed while it was read")
        except BadFile as reason:
            account.refuse(Bad(file.name, None, 0, 0, str(reason)), self.on_bad)

    def takes(self, member: str) -> bool:
        """Whether a member of an archive is wanted."""
        return matches(member, self.include) and not matches(member, self.exclude)

    def entry(self, entry: Entry, wanted: Wanted, account: Account) -> Iterator[Document]:
        """The documents of a file that is no archive, or of a member of one."""
        try:
            if entry.stream is None:
                raise BadFile(entry.reason)
            if not (first := head(entry.stream, PEEK)):
                account.blank += 1
                return
            found, noticed = (self.format, "") if self.format else format_of(entry.name, first)
            if wanted.inside and found != "json":
                raise BadFile(f"read as {found}, whose rows lie in no fields: data.source.inside is for JSON files; leave this one out by data.source.exclude")
            if noticed:
                account.noticed[noticed] += 1
            facts = self.known(entry.name)
            stream = entry.stream
            if found in ENCODED:
                stream, encoding = in_utf8(stream, wanted.encoding)
                facts |= {} if encoding == "utf-8" else {"encoding": encoding}
            for row in READERS[found](stream, wanted):
                if row.reason:
                    start = row.start.decode("utf-8", "backslashreplace")
                    account.refuse(Bad(entry.name, row.number, row.offset, row.size, row.reason, start), self.on_bad)
                    if account.rows >= ENOUGH:
                        account.check(self.most_bad)
                elif row.passed:
                    account.passed[row.passed] += 1
                elif row.text is None:
                    account.blank += 1
                else:
                    account.good += 1
                    yield Document(f"{entry.name}:{row.place}" if row.place else entry.name, row.text, {**facts, **row.facts} if facts else row.facts)
        except (BadRow, BadFile) as reason:
            account.refuse(Bad(entry.name, None, 0, 0, str(reason)), self.on_bad)

    def known(self, name: str) -> dict[str, Fact]:
        """The facts of every document of a file."""
        said = {"source": self.called, "licence": self.licence or licence_of(self.path), "consent": self.consent, "language": self.language}
        return {fact: value for fact, value in {**said, "code": CODE.get(ending(name))}.items() if value is not None}

    def finish(self, accounts: Mapping[str, Account]) -> None:
        [account] = accounts.values()
        paths = self.path if isinstance(self.path, str) else ", ".join(self.path)
        self.close(account, f"no document in {paths}", f"looked for files {list(self.include)}, in rows for {self.text!r}")


@functools.cache
def licence_of(path: str | tuple[str, ...]) -> str | None:
    """The licence of the named data set that all paths are of, if they are of one."""
    paths = (path,) if isinstance(path, str) else path
    names = {one.removeprefix(NAMED).partition("/")[0] if one.startswith(NAMED) else "" for one in paths}
    name = names.pop() if len(names) == 1 else ""
    return named_sets()[name]["licence"] if name else None
