"""Spans of a text are hidden behind one token each, and the answer is what was hidden (T5; Raffel et al. 2019, arXiv:1910.10683).

    text     Thank you for inviting me to your party last week .
    source   Thank you <extra_id_0> me to your party <extra_id_1> week . <eos>
    answer   <start> <extra_id_0> for inviting <extra_id_1> last <eos>
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr

from ftheta.data.processors.processor import Processor
from ftheta.objectives.denoising import Denoising


class SpanCorruption(Denoising):
    """Write what was hidden of a text, span by span."""

    kind: Literal["span_corruption"] = "span_corruption"
    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of tokens to hide."""
    span: float = Field(default=3.0, ge=1)
    """Mean length of a hidden span."""
    sentinels: int = Field(default=100, gt=0)
    """How many tokens there are to stand for spans, <extra_id_0>, <extra_id_1>, ...; those that the tokenizer lacks are added to it."""
    longest: int | None = Field(default=None, ge=8)
    """Tokens of the answers of a row, all its documents together; none: what a row of one document needs and a quarter more. Never more than a row's."""
    _sentinels: tuple[int, ...] = PrivateAttr(())

    @property
    def controls(self) -> tuple[str, ...]:
        return tuple(f"<extra_id_{i}>" for i in range(self.sentinels))

    def with_tokens(self, processor: Processor) -> Self:
        told = super().with_tokens(processor)
        told._sentinels = tuple(found for token in self.controls if (found := processor.id(token)) is not None)
        return told

    def counts(self, length: int) -> tuple[int, int]:
        """How many tokens of a text are hidden, in how many spans."""
        hidden = min(max(round(length * self.rate), 1), length - 1)
        return hidden, min(max(round(hidden / self.span), 1), length - hidden, self.sentinels)

    def room(self, length: int) -> int:
        return min(self.longest or -(-5 * (sum(self.counts(length)) + 2) // 4), length + 1)

    def divided(self, text: np.ndarray, source: int, target: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        text = text[:source]
        while len(text) > 1 and sum(self.counts(len(text))) > target:
            text = text[:-1]
        if len(text) < 2:
            return None
        mask = noise_mask(len(text), *self.counts(len(text)), random)
        return behind(text, mask, self._sentinels), behind(text, ~mask, self._sentinels)


def noise_mask(length: int, hidden: int, spans: int, random: np.random.Generator) -> np.ndarray:
    """(N,) which tokens are hidden: as many spans of kept and of hidden tokens in turn, a kept one first, of random lengths (T5's random_spans_noise_mask)."""

    def lengths(items: int) -> np.ndarray:
        """Items in `spans` parts, none empty, every division equally likely."""
        first = random.permutation(items - 1) < spans - 1
        return np.bincount(np.concatenate([[0], first.cumsum()]))

    hides = lengths(hidden)
    keeps = lengths(length - hidden)
    return np.repeat(np.arange(2 * spans) % 2 == 1, np.stack([keeps, hides], axis=1).flatten())


def behind(text: np.ndarray, mask: np.ndarray, sentinels: tuple[int, ...]) -> np.ndarray:
    """The text with every run of masked tokens replaced by the next sentinel."""
    first = mask & ~np.concatenate([[False], mask[:-1]])
    marked = np.where(first, np.array(sentinels)[np.minimum(first.cumsum() - 1, len(sentinels) - 1).clip(0)], text)
    return marked[~mask | first]
