"""The contract of a source of documents: which files it reads, and how it reads one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from ftheta.data.documents import Document
from ftheta.data.read.account import Account
from ftheta.data.read.files import File
from ftheta.data.sources.source_config import SourceConfig


class DocumentSource(SourceConfig):
    """Where documents come from. Files are read one by one, in any process."""

    @abstractmethod
    def files(self) -> list[File]:
        """What there is to read, in a fixed order. Raises DataError when there is nothing."""

    @abstractmethod
    def read(self, file: File, account: Account) -> Iterator[Document]:
        """The documents of one of the files, in order; what cannot be used is counted. Raises DataError where that is to stop the run."""

    def origin(self, file: File) -> str:
        """The name of the source within this one that a file is of, where there are several."""
        return ""

    def epochs(self, sizes: Mapping[str, int]) -> Mapping[str, float] | None:
        """How often a pass over the data goes through each origin, given their sizes in tokens; None: once through all, in one order."""
        return None

    def check(self, account: Mapping[str, Any]) -> None:
        """Raise DataError when too much of what all files hold could not be used."""
        return
