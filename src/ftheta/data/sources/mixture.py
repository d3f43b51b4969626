"""Several sources of documents read as one, in the proportions wished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ftheta.core.config import Config, Slot
from ftheta.core.errors import ConfigError, DataError, Problem
from ftheta.data.documents import Document
from ftheta.data.mixed import by_share
from ftheta.data.read.account import Account
from ftheta.data.read.walk import File
from ftheta.data.sources import DOCUMENTS
from ftheta.data.text import TextSource


class Member(Config):
    """One source of a mixture."""

    source: Annotated[TextSource, Slot(DOCUMENTS)]
    """Where its documents come from."""
    weight: float | None = Field(default=None, gt=0)
    """Its share of the tokens that training sees, relative to the weights of the others; none: as much as it holds, or what `temperature` makes of it."""
    epochs: float | None = Field(default=None, gt=0)
    """How often a pass over the data goes through it."""


class Mixture(TextSource):
    """Sources of documents by name; a document's name begins with that of its source, which it also has as the fact `source`."""

    kind: Literal["mixture"] = "mixture"
    sources: dict[str, Member] = Field(min_length=1)
    """Name → source."""
    temperature: float = Field(default=1.0, gt=0)
    """Where there are no weights: shares are proportional to size^(1/temperature), so that above 1 small sources are seen more often (Devlin et al. 2019; mT5)."""

    @model_validator(mode="after")
    def fits(self) -> Mixture:
        found = []
        for name in self.sources:
            if "/" in name or not name:
                found.append(Problem(("sources", name), "expected a name without '/'"))
        for field in ("weight", "epochs"):
            given = [name for name, member in self.sources.items() if getattr(member, field) is not None]
            if given and len(given) < len(self.sources):
                missing = next(name for name in self.sources if name not in given)
                found.append(Problem(("sources", missing, field), f"is missing: '{given[0]}' has one, so every source needs one"))
        if any(m.weight is not None for m in self.sources.values()) and any(m.epochs is not None for m in self.sources.values()):
            found.append(Problem(("sources",), "have both weights and epochs: say one or the other"))
        if found:
            raise ConfigError(found)
        return self

    def files(self) -> list[File]:
        found: list[File] = []
        for name, member in self.sources.items():
            try:
                found += [file._replace(name=f"{name}/{file.name}") for file in member.source.files()]
            except DataError as error:
                raise DataError(str(error).replace("data.source.", f"data.source.sources.{name}.source.", 1)) from None
        return found

    def origin(self, file: File) -> str:
        return file.name.partition("/")[0]

    def read(self, file: File, account: Account) -> Iterator[Document]:
        name, _, rest = file.name.partition("/")
        for document in self.sources[name].source.read(file._replace(name=rest), account):
            yield Document(f"{name}/{document.name}", document.text, {**document.facts, "source": name})

    def finish(self, accounts: Mapping[str, Account]) -> None:
        for name, account in accounts.items():
            self.sources[name].source.finish({"": account})

    def epochs(self, sizes: Mapping[str, int]) -> Mapping[str, float] | None:
        members = self.sources.items()
        if any(member.epochs is not None for _, member in members):
            return {name: member.epochs or 0.0 for name, member in members}
        if any(member.weight is not None for _, member in members):
            return by_share({name: member.weight or 0.0 for name, member in members}, sizes)
        return None if self.temperature == 1 else by_share({name: sizes[name] ** (1 / self.temperature) for name in self.sources}, sizes)
