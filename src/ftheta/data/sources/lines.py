"""Text by the line: every row of JSON-lines files, or every line of plain text files, is a document."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from ftheta.core.errors import DataError
from ftheta.data.documents import Document
from ftheta.data.lines import JSON_LINES, Lines, Policy
from ftheta.data.stages import digest, home
from ftheta.data.text import TextSource

KNOWN = (*JSON_LINES, ".txt")


class TextLines(TextSource):
    """Rows of .jsonl files and lines of .txt files; bad ones stop the run, are left out, or are listed in a file."""

    kind: Literal["text_lines"] = "text_lines"
    path: str
    """A file, a folder (its .jsonl, .ndjson and .txt files) or a pattern such as `data/**/*.jsonl`."""
    field: str = "text"
    """Which field of a JSON row holds the text; lines of other files are the text themselves."""
    on_bad: Policy = "error"
    """What to do with a row that cannot be used: stop, leave it out, or leave it out and list it in the quarantine file."""
    most_bad: float = Field(0.001, ge=0, le=1)
    """Share of bad rows above which the run stops whatever `on_bad` says."""
    quarantine: str | None = None
    """Where bad rows are listed, with file, byte offset and reason; none: a file in the cache, named at the end."""

    def files(self) -> list[Path]:
        """The files in a fixed order. Raises DataError when there is none."""
        place = Path(self.path).expanduser()
        if place.is_file():
            return [place]
        if place.is_dir():
            found = sorted(file for file in place.rglob("*") if file.suffix in KNOWN and file.is_file())
        else:
            found = sorted(Path(file) for file in glob.glob(str(place), recursive=True) if Path(file).is_file())
        found = [file for file in found if file.resolve() != self.listing().resolve()]
        if not found:
            raise DataError(f"data.source.path: no file {' or '.join(KNOWN)} in {place}" if place.is_dir() else f"data.source.path: nothing matches {place}")
        return found

    def listing(self) -> Path:
        return Path(self.quarantine).expanduser() if self.quarantine else home() / "quarantine" / f"{digest(self.dump())[:16]}.jsonl"

    def documents(self) -> Iterator[Document]:
        root = Path(self.path).expanduser()
        while root.is_file() or glob.has_magic(str(root)):
            root = root.parent
        for row in Lines(self.files(), self.field, self.on_bad, self.listing(), self.most_bad):
            yield Document(f"{row.file.relative_to(root).as_posix()}:{row.number}", row.text)
