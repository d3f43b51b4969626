"""Spans of a text, empty ones too, are each replaced by one mask, its sentences put in another order; the answer is the text as it was
(BART; Lewis et al. 2019, arXiv:1910.13461).
"""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr

from ftheta.core.errors import ConfigError, Problem
from ftheta.data.processors.processor import Processor
from ftheta.data.tokenizers.spelling import Spelling
from ftheta.objectives.denoising import Denoising


class Infilling(Denoising):
    """Write a text of which spans are missing, and whose sentences were shuffled."""

    kind: Literal["infilling"] = "infilling"
    rate: float = Field(default=0.3, ge=0, lt=1)
    """Share of tokens to hide."""
    span: float = Field(default=3.0, gt=0)
    """Mean length of a hidden span (Poisson); an empty one is a mask where nothing is missing."""
    shuffle: bool = True
    """Whether a document's sentences are put in a random order."""
    _spelling: Spelling | None = PrivateAttr(None)

    def with_tokens(self, processor: Processor) -> Self:
        told = super().with_tokens(processor)
        if processor.id("mask") is None:
            raise ConfigError([Problem(("objective",), "the tokenizer has no token that stands for hidden text: name one, as in special: {mask: '<mask>'}")])
        told._spelling = processor.spelling() if self.shuffle else None
        return told

    def room(self, length: int) -> int:
        return length + 1

    def divided(self, text: np.ndarray, source: int, target: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        text = text[: min(source, target)]
        if not len(text):
            return None
        damaged = text
        if self._spelling is not None:
            sentences = np.split(text, np.flatnonzero(self._spelling.sentence_ends(text)[:-1]) + 1)
            damaged = np.concatenate([sentences[i] for i in random.permutation(len(sentences))])
        return infilled(damaged, self.rate, self.span, self._controls.mask, random), text


def infilled(text: np.ndarray, rate: float, span: float, mask: int, random: np.random.Generator) -> np.ndarray:
    """The text (N,) with ceil(rate · N) tokens hidden in spans of Poisson(span) tokens, one mask for each, never longer than before.

    Every order of kept tokens and spans is equally likely.
    """
    hidden, lengths = math.ceil(rate * len(text)), list[int]()
    while (left := hidden - sum(lengths)) > 0:
        lengths.append(min(int(random.poisson(span)), left))
    empty = lengths.count(0)
    most = hidden - (len(lengths) - empty)                                                # so many masks of nothing leave the text as long as it was
    lengths = [0] * min(empty, most) + [length for length in lengths if length]
    order = random.permutation(len(text) - hidden + len(lengths))                         # numbers below len(lengths) are spans
    sizes = np.ones(len(order), dtype=np.int64)
    spans = order < len(lengths)
    sizes[spans] = np.array(lengths, dtype=np.int64)[order[spans]]
    starts = sizes.cumsum() - sizes
    return np.where(spans, mask, text[np.minimum(starts, len(text) - 1)])
