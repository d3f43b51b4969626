"""Words with tags from files as CoNLL has them: a word and its tag a line, an empty line between sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError
from ftheta.data.catalogue import place_of
from ftheta.data.sources.source_config import Prepared, Sections, SourceConfig
from ftheta.data.tagged import TaggedSentence, prepare_tagged


class TaggedText(SourceConfig):
    """Sentences whose words have tags, such as `B-PER`, `I-PER`, `O`."""

    sections = frozenset({"tokenizer"})
    kind: Literal["tagged_text"] = "tagged_text"
    path: str
    """The file to train on, UTF-8; a word, its tag and what may stand between them are separated by tabs or spaces. `data:NAME/FILE` is one of a named data set."""
    validation: str | None = None
    """The file looked at during training; none: no validation."""
    test: str | None = None
    """The file of the final measurement; none: none is made."""
    longest: int = Field(default=128, ge=8)
    """Tokens of a sentence; what is longer loses its end."""

    def ports(self) -> Ports:
        return Ports(gives={"tokens": "ids B T", "documents": "ids B T", "segments": "ids B T", "label": "label B T"}, sizes={"T": self.longest})

    def prepare(self, sections: Sections) -> Prepared:
        return prepare_tagged(self.parts(), self.longest, sections)

    def parts(self) -> dict[str, list[TaggedSentence]]:
        """The sentences of every file. Raises DataError naming file and line."""
        files = {"train": self.path, "validation": self.validation, "test": self.test}
        found = {name: list(sentences(place_of(path))) for name, path in files.items() if path is not None}
        for name, read in found.items():
            if not read:
                raise DataError(f"{files[name]} holds no sentences")
        known = {tag for sentence in found["train"] for tag in sentence.tags}
        if len(known) < 2:
            raise DataError(f"{self.path}: every word has the tag '{next(iter(known))}': there is nothing to tell apart")
        return found


def sentences(path: Path) -> Iterator[TaggedSentence]:
    """Sentences of a file; lines that begin a document (`-DOCSTART-`) are passed over."""
    words: list[str] = []
    tags: list[str] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                columns = line.split()
                if columns and columns[0] != "-DOCSTART-":
                    if len(columns) < 2:
                        raise DataError(f"{path}, line {number}: '{columns[0]}' has no tag: expected a word and its tag, separated by a tab or spaces")
                    words.append(columns[0])
                    tags.append(columns[-1])
                elif words:
                    yield TaggedSentence(tuple(words), tuple(tags))
                    words, tags = [], []
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} cannot be read") from None
    except OSError as error:
        raise DataError(f"data.source: {path} cannot be read ({error.strerror})") from None
    if words:
        yield TaggedSentence(tuple(words), tuple(tags))
