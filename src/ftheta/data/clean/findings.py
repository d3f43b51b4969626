"""What must not be in a corpus, found by patterns: the rule that counts, masks or drops, whatever the patterns are of.

A pattern takes time linear in the text: repetitions are bounded or possessive, and a match begins where its sort of characters begins. What a
pattern cannot tell (a checksum, a range) is asked of the match afterwards.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from pydantic import Field, field_validator

from ftheta.data.clean.rules import Rule, Verdict
from ftheta.data.documents import Document


class Pattern(NamedTuple):
    """One way in which a kind of thing is written."""

    kind: str
    expression: re.Pattern[str]
    true: Callable[[str], bool] = bool
    """Whether a match is one: checksums."""
    needs: tuple[str, ...] = ()
    """A text (in small letters) without any of these has none; saves looking."""
    number: bool = False
    """Whether it is a long number, too: a text without one is not looked through."""


NUMBER = re.compile(r"[0-9](?:[ .()（）-]{0,2}[0-9]){6}|[0-9]\.[0-9]{1,3}\.[0-9]")
"""Seven digits with little between them, or three numbers with points between."""


def pattern(kind: str, expression: str, true: Callable[[str], bool] = bool, needs: tuple[str, ...] = (), number: bool = False) -> Pattern:
    """A pattern of an expression, in which \\d and \\w are those of ASCII; of a match with a group `value` only that is what was found."""
    return Pattern(kind, re.compile(expression, re.ASCII), true, needs, number)


class Finder(Rule):
    """Find, and count, mask or drop."""

    action: Literal["count", "mask", "drop"] = "mask"
    """Only count what is found, put `mask` in its place, or drop documents that hold more than `most`."""
    mask: str = "<{kind}>"
    """What stands where something was found; {kind} is what it was."""
    most: int = Field(default=0, ge=0)
    """With `action: drop`, how many findings a document may have."""

    @abstractmethod
    def patterns(self) -> Sequence[Pattern]:
        """Those looked for, in order: what one has found, those after it do not see."""

    @field_validator("mask")
    @classmethod
    def mask_has_no_other_names(cls, value: str) -> str:
        try:
            value.format(kind="")
        except (KeyError, IndexError, ValueError):
            raise ValueError(f"expected a text in which {{kind}} may stand, got '{value}'") from None
        return value

    def apply(self, document: Document) -> Verdict:
        text, found = masked(document.text, self.patterns(), self.mask)
        counts = {f"found {kind.replace('_', ' ')}": count for kind, count in found.items()}
        if self.action == "drop" and found.total() > self.most:
            return Verdict(None, f"{getattr(self, 'kind', 'found')} {max(found, key=lambda kind: found[kind]).replace('_', ' ')}",
                           {"why": ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in found.items())}, counts)
        return Verdict(text if self.action == "mask" else document.text, counts=counts)


def presentable(document: Document, rules: Sequence[Rule]) -> Document:
    """A document as it may be shown to anybody: what rules are to mask, or to drop documents for, is masked, whether or not they had their turn."""
    for rule in rules:
        if isinstance(rule, Finder) and rule.action != "count":
            document = Document(document.name, masked(document.text, rule.patterns(), rule.mask)[0], document.facts)
    return document


def masked(text: str, patterns: Sequence[Pattern], mask: str) -> tuple[str, Counter[str]]:
    """The text with a mask for everything found, and how much of each kind that was."""
    found, lower, numbers = Counter[str](), text.lower(), NUMBER.search(text) is not None
    for one in patterns:
        if (one.number and not numbers) or (one.needs and not any(part in lower for part in one.needs)):
            continue
        group = "value" if "value" in one.expression.groupindex else 0

        def replace(match: re.Match[str], one: Pattern = one, group: str | int = group) -> str:
            if not one.true(match[group]):
                return match[0]
            found[one.kind] += 1
            begin, end = match.start(group) - match.start(), match.end(group) - match.start()
            return match[0][:begin] + mask.format(kind=one.kind) + match[0][end:]

        text = one.expression.sub(replace, text)
    return text, found
