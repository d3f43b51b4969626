"""Problems of arithmetic, `12+34=`, and their answers, `46`: made from a seed, every one of them once, so what is kept for the test was never trained on."""

from __future__ import annotations

import operator
import random
from typing import Literal

from pydantic import Field, model_validator

from ftheta.core.random import key
from ftheta.data.chat.conversations import Message
from ftheta.data.chat.prepare import Item
from ftheta.data.sources.chat import Answered

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


class Arithmetic(Answered):
    """Two numbers to add, subtract or multiply."""

    kind: Literal["arithmetic"] = "arithmetic"
    template: str | None = "plain"
    """How a problem and its answer are written: `plain` puts one after the other; other templates as for `chat`."""
    operations: tuple[Literal["+", "-", "*"], ...] = Field(default=("+",), min_length=1)
    """What is to be done with the two numbers."""
    digits: int = Field(default=2, gt=0, le=9)
    """At most this many digits a number has."""
    count: int = Field(default=10_000, gt=2)
    """How many different problems there are."""
    seed: int = Field(default=0, ge=0)
    """Which problems these are, out of all there could be."""

    @model_validator(mode="after")
    def has_so_many(self) -> Arithmetic:
        if self.count > self.possible:
            raise ValueError(f"count is {self.count:,}, but only {self.possible:,} different problems have numbers of at most {self.digits} digits: ask for fewer, or more digits")
        if len(set(self.operations)) < len(self.operations):
            raise ValueError("operations: name each of them once")
        return self

    @property
    def possible(self) -> int:
        return len(self.operations) * 100**self.digits

    def items(self) -> list[Item]:
        found, base = [], 10**self.digits
        for number in random.Random(key(self.seed, "arithmetic")).sample(range(self.possible), self.count):
            which, rest = divmod(number, base * base)
            a, b = divmod(rest, base)
            sign = self.operations[which]
            problem = f"{a}{sign}{b}="
            found.append(Item(problem, ([Message("user", problem), Message("assistant", str(OPERATIONS[sign](a, b)))],)))
        return found
