"""The contract of a processor: facts and files that rebuild it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from ftheta.data.tokenizers.spelling import Spelling


class Processor(ABC):
    """Turns raw inputs into tensors and outputs into words."""

    kind: ClassVar[str]
    """Its name in the catalogue."""

    @abstractmethod
    def dump(self) -> dict[str, Any]:
        """Plain facts for `ftheta.json`."""

    def label(self, index: int) -> str:
        """The name of a class: its number, unless the processor knows better."""
        return str(index)

    def id(self, role: str) -> int | None:
        """The id of the control token that plays a part, such as `eos`; None where there is none."""
        return None

    @property
    def vocab(self) -> int:
        """One more than the highest token; 0 where there are no tokens."""
        return 0

    def spelling(self) -> Spelling | None:
        """How tokens spell text; None where there are no tokens."""
        return None

    def files(self) -> dict[str, bytes]:
        """Files it keeps in the model folder."""
        return {}

    @classmethod
    @abstractmethod
    def load(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        """Rebuild it from what `dump` and `files` gave. Raises FolderError for damaged files."""
