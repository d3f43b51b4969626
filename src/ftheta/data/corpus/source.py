"""The contract of a source of documents: which files it reads, and how it reads one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

from ftheta.data.documents import Document
from ftheta.data.read.account import Account
from ftheta.data.read.walk import File
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

    def finish(self, accounts: Mapping[str, Account]) -> None:
        """What is to be said and kept once everything is read, given the account of each origin. Raises DataError when too much could not be used."""
        return

    def documents(self) -> Iterator[Document]:
        """Every document, in this process."""
        accounts: dict[str, Account] = {}
        for file in self.files():
            yield from self.read(file, accounts.setdefault(self.origin(file), Account()))
        self.finish(accounts)
