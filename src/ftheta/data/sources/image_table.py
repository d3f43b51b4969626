"""Labelled pictures from the rows of a table: the path of a picture, or its bytes, and a class or several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError
from ftheta.data.catalogue import place_of
from ftheta.data.images import ImageDataset, LabelsDataset, Pictures
from ftheta.data.pictures.found import Found
from ftheta.data.pictures.reader import Item, Role
from ftheta.data.pictures.source import Example
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.read.account import Account, Bad
from ftheta.data.read.archives import entries, unsafe
from ftheta.data.read.bad import BadFile
from ftheta.data.read.formats import READERS, format_of
from ftheta.data.read.lines import Caps
from ftheta.data.read.row import Wanted
from ftheta.data.read.stores import store
from ftheta.data.read.streams import head
from ftheta.data.read.tables import brief, values_of
from ftheta.data.read.walk import File
from ftheta.data.several import apart, many_hot
from ftheta.data.source import GROUP
from ftheta.data.sources.pictures import LabelledPictures
from ftheta.data.sources.tables import by_size

PARQUET = b"PAR1"
TABLES = ("csv", "tsv", "jsonl", "json", "parquet", "arrow")
ROWS = 64
"""Rows of a table of pictures that are in memory at once."""


class Named(NamedTuple):
    """A row that names a picture."""

    number: int | None
    picture: str
    label: str
    group: str | None


class ImageTable(LabelledPictures):
    """Rows of a .csv, .tsv, .jsonl or .parquet file with the path of a picture and its class; in a .parquet file its bytes may stand instead."""

    kind: Literal["image_table"] = "image_table"
    path: str
    """The file."""
    image: str = "image"
    """The column of paths, or of bytes (also as the `bytes` of a struct, as data sets on the hub have them)."""
    label: str = "label"
    """The column of classes."""
    separator: str | None = Field(default=None, min_length=1)
    """What stands between the classes of a picture that may have none, one or several (a list may stand there as well); none: every picture has one."""
    group: str | None = None
    """The column of the group of each picture (a sex, a site), by which metric `gaps` compares; no model sees it."""
    root: str | None = None
    """The folder that paths are relative to; none: that of the table."""
    header: bool = True
    """Whether the first line names the columns; if not they are called 1, 2, 3, ..."""

    def ports(self) -> Ports:
        if self.separator is not None:
            return self.sized_ports(LabelsDataset.answers)
        return super().ports() if self.group is None else self.sized_ports({**ImageDataset.answers, **GROUP})

    @model_validator(mode="after")
    def groups_of_one_class(self) -> Self:
        if self.group is not None and self.separator is not None:
            raise ValueError("group is for pictures of one class each, and separator says several: leave one of them out")
        return self

    @property
    def said(self) -> tuple[str, ...]:
        """The columns of what is said of a picture."""
        return (self.label,) if self.group is None else (self.label, self.group)

    def files(self) -> list[File]:
        """The table if it holds the pictures, else those that it names."""
        table = place_of(self.path)
        if self.holds_bytes():
            return [File(str(table), table.name, table.stat().st_size)]
        names = dict.fromkeys(row.picture for row in self.rows(Account()) if not unsafe(row.picture))
        places = {name: self.folder / name for name in names}
        return [File(str(place), name, place.stat().st_size) for name, place in places.items() if place.is_file()]

    @property
    def folder(self) -> Path:
        return place_of(self.path).parent if self.root is None else Path(self.root).expanduser()

    def role(self, name: str) -> Role:
        return "picture"

    def holds_bytes(self) -> bool:
        """Whether pictures stand in the table itself. Raises DataError for a table that cannot be read."""
        try:
            with store(str(place_of(self.path))) as stored:
                if stored.read(len(PARQUET)) != PARQUET:
                    return False
                stored.seek(0)
                with pq.ParquetFile(stored) as table:
                    names = table.schema_arrow.names
                    kind = table.schema_arrow.field(self.image).type if self.image in names else None
                    return kind is not None and (pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
        except BadFile as reason:
            raise DataError(f"data.source.path: {self.path} {reason}") from None
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path}: damaged Parquet ({brief(error)})") from None

    def rows(self, account: Account) -> Iterator[Named]:
        """Every row that names a picture; what cannot be read is counted. Raises DataError where that is to stop the run."""
        place = place_of(self.path)
        wanted = Wanted(text=(self.image,), facts=self.said, header=self.header)
        try:
            with store(str(place)) as stored:
                for entry in entries(place.name, stored, Caps()):
                    if entry.stream is None:
                        raise BadFile(entry.reason)
                    format = format_of(entry.name, head(entry.stream))[0]
                    if format not in TABLES:
                        raise BadFile(f"is not a table (expected {', '.join(f'.{name}' for name in TABLES)})")
                    for row in READERS[format](entry.stream, wanted):
                        lacking = [column for column in self.said if row.text is not None and column not in row.facts]
                        reason = row.reason or (f"no {'class' if lacking[0] == self.label else 'group'} in column '{lacking[0]}'" if lacking else "")
                        if reason:
                            account.refuse(Bad(self.path, row.number, row.offset, row.size, reason, row.start.decode("utf-8", "backslashreplace")), self.on_bad)
                        elif row.text is None:
                            account.blank += 1
                        else:
                            yield Named(row.number, row.text, *(str(row.facts[column]) for column in self.said), *([] if self.group else [None]))
        except BadFile as reason:
            raise DataError(f"data.source.path: {self.path} {reason}") from None

    def items(self, file: File, account: Account) -> Iterator[Item]:
        if not self.holds_bytes():
            yield from super().items(file, account)
            return
        number = 0
        try:
            with store(file.path) as stored, pq.ParquetFile(stored) as table:
                if missing := [column for column in self.said if column not in table.schema_arrow.names]:
                    raise BadFile(f"no column '{missing[0]}' (columns: {', '.join(table.schema_arrow.names)})")
                for batch in table.iter_batches(ROWS, columns=list(dict.fromkeys((self.image, *self.said)))):
                    for picture, *facts in zip(*(values_of(batch.column(column)) for column in (self.image, *self.said)), strict=True):
                        number += 1
                        name = f"{file.name}:{number}"
                        data = picture.get("bytes") if isinstance(picture, dict) else picture
                        label, *group = (fact.decode("utf-8", "replace") if isinstance(fact, bytes) else fact for fact in facts)
                        if not isinstance(data, bytes) or label is None or None in group:
                            account.refuse(Bad(file.name, number, 0, 0, f"a row without a picture's bytes, or without a class{' or a group' if group else ''}"), self.on_bad)
                            continue
                        label = str(json.dumps(label) if isinstance(label, list) else label)
                        yield Item(name, "text", (json.dumps([label, str(group[0])]) if group else label).encode())
                        yield Item(name, "picture", data)
        except BadFile as reason:
            account.refuse(Bad(file.name, None, 0, 0, str(reason)), self.on_bad)
        except (pa.ArrowException, OSError) as error:
            account.refuse(Bad(file.name, None, 0, 0, f"damaged Parquet ({brief(error)})"), self.on_bad)

    def class_of(self, name: str, texts: Mapping[str, str]) -> str:
        return texts[name] if self.group is None else json.loads(texts[name])[0]

    def examples(self, found: Found, account: Account) -> list[Example]:
        if self.holds_bytes():
            examples = self.split_alike(super().examples(found, account))
            return examples if self.group is None else [replace(example, group=json.loads(found.texts[example.name])[1]) for example in examples]
        rows = {name: row for row, name in enumerate(found.pictures.names)}
        seen: dict[str, Example] = {}
        for named in self.rows(account):
            reason = ""
            if named.picture in seen:
                reason = f"names a picture a second time ({named.picture})"
            elif named.picture in rows:
                seen[named.picture] = Example(found, rows[named.picture], named.label, named.label, group=named.group)
            elif unsafe(named.picture):
                reason = f"names a picture outside of its folder ({named.picture})"
            elif not (self.folder / named.picture).is_file():                             # else it is there, and was counted as bad
                reason = f"names a picture that is not there ({named.picture})"
            if reason:
                account.refuse(Bad(self.path, named.number, 0, 0, reason), self.on_bad)
        return self.split_alike(list(seen.values()))

    def split_alike(self, examples: Sequence[Example]) -> list[Example]:
        """The examples, split class by class only where a picture has one."""
        return [example if self.separator is None else replace(example, stratum="") for example in examples]

    def names(self, examples: Sequence[Example]) -> list[str]:
        if self.separator is None:
            return super().names(examples)
        names = sorted({name for example in examples for name in apart(example.answer, self.separator)}, key=by_size)
        if not names:
            raise DataError(f"{self.path}: no picture to train on has a class in column '{self.label}'")
        return names

    def dataset(self, examples: Sequence[Example], names: Sequence[str], processor: ImageProcessor) -> Pictures:
        if self.separator is None:
            return super().dataset(examples, names, processor)
        labels = many_hot([apart(example.answer, self.separator) for example in examples], names, [example.name for example in examples])
        return LabelsDataset(examples[0].found.pictures.stored([example.row for example in examples]), labels, names, processor)
