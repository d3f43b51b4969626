"""How documents become rows of equal length, as the recipe says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ftheta.core.config import Config
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError, Problem


class Shorter(Config):
    """A stretch of training with shorter rows."""

    until: float = Field(gt=0, lt=1)
    """Share of the budget at which it ends."""
    length: int = Field(gt=1)
    """Tokens in a row; must divide the full length."""


class Pack(Config):
    """How documents become rows of equal length."""

    length: int = Field(default=256, gt=1)
    """Tokens in a row."""
    how: Literal["concatenated", "best_fit"] = "concatenated"
    """Documents end to end and cut into rows, so that none is padded; or documents whole, longer ones in pieces, each row as full as may be and the rest
    of it padded. Conversations always are whole."""
    ramp: tuple[Shorter, ...] = ()
    """Shorter rows first: each is cut into pieces until its share of the budget is used (Li et al. 2021, arXiv:2108.06084)."""

    @model_validator(mode="after")
    def divides(self) -> Pack:
        for i, stretch in enumerate(self.ramp):
            if self.length % stretch.length:
                raise ConfigError([Problem(("ramp", i, "length"), f"{stretch.length} does not divide the row's {self.length} tokens")])
            if i and stretch.until <= self.ramp[i - 1].until:
                raise ConfigError([Problem(("ramp", i, "until"), "must be later than the stretch before it")])
        return self


class Ramp:
    """Cuts rows of tokens into shorter ones, as far as training has come; the same tokens, targets included, in the same order."""

    def __init__(self, pack: Pack, lookahead: int):
        self.pack = pack
        self.lookahead = lookahead

    def __call__(self, batch: Batch, progress: float) -> Batch:
        length = next((stretch.length for stretch in self.pack.ramp if progress < stretch.until), self.pack.length)
        if length == self.pack.length:
            return batch
        return {name: value.unfold(1, length + self.lookahead, length).flatten(0, 1) for name, value in batch.items()}
