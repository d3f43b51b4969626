"""The contract of an experience source as a recipe names it: batches come from acting with the model being trained."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

from ftheta.data.processors.plain import PlainProcessor
from ftheta.data.source import Source
from ftheta.data.sources.source_config import Prepared, Sections, SourceConfig, source_name


class ExperienceConfig(SourceConfig):
    """Where and how to act."""

    def prepare(self, sections: Sections) -> Prepared:
        """Nothing is read beforehand."""
        return Prepared(self.ports(), PlainProcessor(), account={"source": source_name(self)})

    @abstractmethod
    def shorter(self, rows: int) -> Self:
        """The same with short iterations, a few times `rows` rows each learned from once, for trials."""

    @abstractmethod
    def source(self, batch: int, seed: int, prepared: Prepared) -> Source:
        """The source of a run whose steps take `batch` rows."""
