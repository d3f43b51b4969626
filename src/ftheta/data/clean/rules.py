"""What every cleaning rule is: a pure function of one document, which gives it back, changed, or drops it with a reason."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftheta.core.config import Config
from ftheta.core.errors import DataError
from ftheta.data.documents import Document, Fact


class Verdict(NamedTuple):
    """The cleaned text, or None and why the document was dropped; and what was found on the way."""

    text: str | None
    reason: str = ""
    """A short name that documents are counted by, such as `gopher mean word length`; the fact `why` has the value."""
    facts: Mapping[str, Fact] = {}
    """What was found out about the document, which goes on with it: a language, a score."""
    counts: Mapping[str, int] = {}
    """How often something was found or changed, summed in the account: e-mail addresses, lines taken out."""


class Rule(Config, ABC):
    """A pure function of one document."""

    languages: tuple[str, ...] = ()
    """Only documents in these languages, as a `language` rule before this one or the source says; all when empty."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return str(getattr(self, "kind"))  # noqa: B009

    @abstractmethod
    def apply(self, document: Document) -> Verdict: ...

    def learned_beforehand(self) -> tuple[str, dict[str, Any]] | None:
        """What the rule has to learn before it can judge, made if it is not there: its content address, and what is known of it; None for a rule that learns nothing."""
        return None

    def concerns(self, document: Document) -> bool:
        """Whether the document is in one of the languages this rule is for. Raises DataError when nothing says which it is in."""
        if self.languages and "language" not in document.facts:
            raise DataError(f"data.clean: {getattr(self, 'kind', 'this rule')} is for {', '.join(self.languages)} only, and nothing says which language "
                            f"{document.name} is in; put {{kind: language}} before it")
        return not self.languages or document.facts["language"] in self.languages


def judge(document: Document, rules: Sequence[Rule]) -> Verdict:
    """Every rule in turn, until one drops the document; what all of them found. A document that is left with no text is dropped as empty."""
    facts, counts = dict(document.facts), Counter[str]()
    for rule in rules:
        if not rule.concerns(document):
            continue
        verdict = rule.apply(document)
        facts |= verdict.facts
        counts.update(verdict.counts)
        if verdict.text is None:
            return Verdict(None, verdict.reason, facts, counts)
        document = Document(document.name, verdict.text, facts)
    return Verdict(document.text, "", facts, counts) if document.text.strip() else Verdict(None, "empty", facts, counts)
