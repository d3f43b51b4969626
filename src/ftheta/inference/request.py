"""A sequence to continue, by whatever continues it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ftheta.inference.sampling import Sampling


@dataclass
class Request:
    """One sequence to continue, and what has come of it."""

    prompt: list[int]
    sampling: Sampling
    most: int
    sample: int = 0
    """Which of several samples of one prompt; part of what keys its draws."""
    lookup: int = 0
    """At most this many tokens are guessed ahead."""
    scored: bool = False
    """Whether `scores` are wanted."""
    allowed: Callable[[Sequence[int]], Sequence[int]] | None = None
    """New tokens → those that may come next, the end among them where it may; None: all."""
    end: int | None = None
    """The token that ends this sequence; None: the one that ends all."""
    source: list[int] | None = None
    """What an encoder-decoder answers to."""
    alternatives: int = 0
    """How many of the likeliest tokens are wanted at every place."""
    new: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    """log p of every new token by the model itself, before temperature and everything else."""
    likeliest: list[list[tuple[int, float]]] = field(default_factory=list)
    """At every place the `alternatives` likeliest tokens by the model itself, and log p of each."""
    finish: str | None = None
    """Why it ended: `stop` or `length`."""
    window: list[int] = field(default_factory=list)
    """The tokens the model looks at, the newest included."""

    @property
    def read(self) -> int:
        """Tokens the model is given: of the prompt and of the source."""
        return len(self.prompt) + len(self.source or ())
