"""Rewards by rule: a score between 0 and 1 (length: between -1 and 0) that anybody can check."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ftheta.data.sources.source_config import Judge
from ftheta.experience.rewards.reward import Completion, Reward

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def last_number(text: str) -> Decimal | None:
    """The last number a text says, commas between thousands left out."""
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


class Rule(Reward):
    """A reward of one completion at a time."""

    @abstractmethod
    def score(self, completion: Completion) -> float:
        """What it is worth."""

    def scores(self, completions: Sequence[Completion], judge: Judge | None) -> list[float]:
        return [float(self.score(completion)) for completion in completions]


class RightNumber(Rule):
    """1 when the last number is the right answer's last number, as in GSM8K (Cobbe et al. 2021, arXiv:2110.14168)."""

    kind: Literal["arithmetic"] = "arithmetic"

    def score(self, completion: Completion) -> float:
        wanted = last_number(completion.answer)
        return wanted is not None and last_number(completion.text) == wanted


class ExactMatch(Rule):
    """1 when the completion is the right answer, spaces around it left out."""

    kind: Literal["exact_match"] = "exact_match"
    case: bool = True
    """Whether capital letters count as others than small ones."""

    def score(self, completion: Completion) -> float:
        said, right = completion.text.strip(), completion.answer.strip()
        return said == right if self.case else said.casefold() == right.casefold()


class Matches(Rule):
    """1 when a regular expression matches the whole completion."""

    kind: Literal["regex"] = "regex"
    pattern: str = r"(?s).+"
    """The expression, as Python's `re` has it."""

    @field_validator("pattern")
    @classmethod
    def compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return pattern

    def score(self, completion: Completion) -> float:
        return re.fullmatch(self.pattern, completion.text) is not None


class Tagged(Rule):
    """1 when the completion is these parts in order and nothing else, `<think>...</think> <answer>...</answer>` (DeepSeek-R1, arXiv:2501.12948)."""

    kind: Literal["format"] = "format"
    tags: tuple[str, ...] = Field(default=("think", "answer"), min_length=1)
    """What the parts are called."""

    def score(self, completion: Completion) -> float:
        expression = r"\s*".join(f"<{tag}>(?:(?!</?{tag}>).)*</{tag}>" for tag in map(re.escape, self.tags))
        return re.fullmatch(rf"\s*{expression}\s*", completion.text, re.DOTALL) is not None


class Length(Rule):
    """0 up to `free` tokens, then falling in a straight line to -1 at `most` (soft overlong punishment of DAPO: Yu et al. 2025, arXiv:2503.14476)."""

    kind: Literal["length"] = "length"
    free: int = Field(default=64, ge=0)
    """Up to this many tokens cost nothing."""
    most: int = Field(default=128, gt=0)
    """From this many tokens on it is -1."""

    @model_validator(mode="after")
    def falls(self) -> Length:
        if self.most <= self.free:
            raise ValueError(f"most is {self.most:,}, which must be more than free ({self.free:,})")
        return self

    def score(self, completion: Completion) -> float:
        return -min(1.0, max(0.0, (len(completion.new) - self.free) / (self.most - self.free)))
