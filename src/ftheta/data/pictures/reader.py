"""The contract of a source of pictures: which files it reads, and what of each is a picture, a mask, or says something of pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from ftheta.data.frame import Size
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.read.account import Account, Bad
from ftheta.data.read.archives import entries
from ftheta.data.read.bad import BadFile, BadRow
from ftheta.data.read.lines import Caps
from ftheta.data.read.pictures import LARGEST_FILE
from ftheta.data.read.row import Wanted, whole
from ftheta.data.read.stores import store
from ftheta.data.read.walk import ARCHIVES, File
from ftheta.data.sources.counted import Counted

Role = Literal["picture", "mask", "text", ""]
CAPS = Caps(file=LARGEST_FILE)


class Item(NamedTuple):
    """A file, or a member of an archive."""

    name: str
    role: Role
    data: bytes


class PictureReader(Counted):
    """Where pictures come from. Files are read one by one, in any process."""

    @abstractmethod
    def files(self) -> list[File]:
        """What there is to read, in a fixed order. Raises DataError when there is nothing."""

    @abstractmethod
    def role(self, name: str) -> Role:
        """What a file, or a member of an archive, of this name is; nothing: it is passed over."""

    @abstractmethod
    def laying(self) -> ImageProcessor:
        """What decodes pictures and lays them into their frames."""

    def mask(self, data: bytes) -> tuple[np.ndarray, Size]:
        """The classes (H, W) uint8 of a mask in its frame, and its own height and width; only of a source that gives files that part. Raises BadFile."""
        raise AssertionError(f"{type(self).__name__} has no masks")

    def items(self, file: File, account: Account) -> Iterator[Item]:
        """What one of the files holds; what cannot be read is counted. Raises DataError where that is to stop the run."""
        try:
            with store(file.path) as stored:
                for entry in entries(file.name, stored, CAPS):
                    hidden = PurePosixPath(entry.name).name.startswith(".")
                    role = "" if hidden else self.role(entry.name)
                    unread = entry.name == file.name and entry.name.lower().endswith(ARCHIVES)
                    if entry.stream is not None and unread:
                        entry = entry._replace(stream=None, reason="is called like an archive, and is none")
                    if entry.stream is not None and not role:
                        account.passed["hidden" if hidden else "no picture"] += 1
                        continue
                    try:
                        if entry.stream is None:
                            raise BadFile(entry.reason)
                        yield Item(entry.name, role, whole(entry.stream, Wanted(caps=CAPS)))
                    except (BadRow, BadFile) as reason:
                        account.refuse(Bad(entry.name, None, 0, 0, str(reason)), self.on_bad)
        except BadFile as reason:
            account.refuse(Bad(file.name, None, 0, 0, str(reason)), self.on_bad)
