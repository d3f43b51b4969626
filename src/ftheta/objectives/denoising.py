"""Texts written out again from damaged ones: what objectives over a source and an answer made from one text share.

Every document of a row is a text of its own: its damaged form is a document of the source, its answer one of the target, under the same number, so
nothing crosses a border. Control tokens around documents are no text: they are taken away first, and each side gets its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from pydantic import PrivateAttr

from ftheta.core.contract import PADDING, Batch, Needs
from ftheta.core.errors import ConfigError, Problem
from ftheta.core.random import Draws
from ftheta.data.processors.processor import Processor
from ftheta.data.tokenizers.trained import BOS, EOS, MASK, PAD
from ftheta.objectives.language import LeftToRight
from ftheta.objectives.objective import NO_GRADIENTS

AROUND = ("bos", "eos", "cls", "sep", "pad")
"""Roles of control tokens that stand around texts."""


class Controls(NamedTuple):
    """The ids of control tokens that both sides are written with; those of tokenizers trained here, until it is told others."""

    start: int = BOS
    end: int = EOS
    pad: int = PAD
    mask: int = MASK
    around: tuple[int, ...] = (BOS, EOS, PAD)


class Denoising(LeftToRight):
    """-Σ log p(answer_t | answer_{<t}, source) where both are made from the same text."""

    _controls: Controls = PrivateAttr(Controls())

    def needs(self) -> Needs:
        return Needs(
            reads={"tokens": "ids B T"},
            feeds={"source": "ids B S", "source_documents": "ids B S", "tokens": "ids B T", "documents": "ids B T"},
            wants={"hidden": "real B T D", "logits": "logits B T V"},
            traits={"causal": "the answer is written from left to right, and the model would see what it has yet to write; choose model 'encoder_decoder'",
                    "gradients": NO_GRADIENTS},
        )

    def with_tokens(self, processor: Processor) -> Self:
        end = processor.id("eos")
        start = next((found for role in ("decoder_start", "bos", "eos") if (found := processor.id(role)) is not None), None)
        if end is None or start is None:
            raise ConfigError([Problem(("objective",), "the tokenizer has no token that ends a text: name one, as in special: {eos: '</s>'}")])
        around = tuple(found for found in map(processor.id, AROUND) if found is not None)
        told = self.model_copy()
        mask = processor.id("mask")
        told._controls = Controls(start, end, processor.id("pad") or 0, MASK if mask is None else mask, around)
        return told

    @abstractmethod
    def room(self, length: int) -> int:
        """Tokens of the target rows made of rows of `length` tokens."""

    @abstractmethod
    def divided(self, text: np.ndarray, source: int, target: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        """What stands in source and target for a text (N,), without the tokens that begin and end them, at most `source` and `target` tokens;
        None: there is not enough of it.
        """

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        tokens = batch["tokens"].numpy()
        documents = batch["documents"].numpy() if "documents" in batch else np.zeros_like(tokens)
        rows, length = tokens.shape
        pad = self._controls.pad
        made = {name: np.full((rows, width), pad) for name, width in (("source", length), ("tokens", self.room(length)))}
        numbers = {name: np.full_like(ids, PADDING) for name, ids in made.items()}
        for row, seed in enumerate(draws.integers(1 << 62).tolist()):                      # a row's own numbers, however wide the batch is
            random = np.random.default_rng(seed)
            filled = dict.fromkeys(made, 0)
            for number, text in enumerate(texts(tokens[row], documents[row], self._controls.around)):
                left = {name: made[name].shape[1] - filled[name] for name in made}
                found = self.divided(text, left["source"] - 1, left["tokens"] - 2, random)
                if found is None:
                    continue
                for name, ids in (("source", [*found[0], self._controls.end]), ("tokens", [self._controls.start, *found[1], self._controls.end])):
                    place = slice(filled[name], filled[name] + len(ids))
                    made[name][row, place], numbers[name][row, place] = ids, number
                    filled[name] = place.stop
        given: dict[str, Any] = {**made, "source_documents": numbers["source"], "documents": numbers["tokens"]}
        return {**{name: value for name, value in batch.items() if name not in given}, **{name: torch.from_numpy(ids) for name, ids in given.items()}}

    def tasks(self) -> dict[str, str]:
        return {"source": "text2text-generation"}


def texts(tokens: np.ndarray, documents: np.ndarray, around: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The documents of a row (T,), without padding and the control tokens around them."""
    borders = np.flatnonzero(np.diff(documents)) + 1
    text = ~np.isin(tokens, around) & (documents != PADDING)
    for piece, kept in zip(np.split(tokens, borders), np.split(text, borders), strict=True):
        yield piece[kept]
