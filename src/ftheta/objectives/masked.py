"""Hidden tokens are guessed from both sides (Devlin et al. 2018, arXiv:1810.04805)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, PrivateAttr, model_validator
from torch import Tensor, nn

from ftheta.core.contract import PADDING, Batch, Loss, Needs
from ftheta.core.errors import ConfigError, Problem
from ftheta.core.random import Draws, key
from ftheta.data.processors.processor import Processor
from ftheta.data.tokenizers.spelling import Spelling
from ftheta.data.tokenizers.trained import MASK
from ftheta.objectives.language import token_loss, with_auxiliary
from ftheta.objectives.objective import NO_GRADIENTS, Choosing, Phase, Places, Run


class Words(NamedTuple):
    """What says which tokens are of one word."""

    spelling: Spelling
    listed: frozenset[str]

    def continue_in(self, tokens: Tensor) -> Tensor:
        """(B, T) whether a token goes on with the word before it."""
        return torch.from_numpy(np.stack([self.spelling.continues(row, self.listed) for row in tokens.numpy()]))


def read_words(path: str) -> frozenset[str]:
    """The words of a file, one a line. Raises ConfigError when it cannot be read."""
    try:
        return frozenset(word for line in Path(path).expanduser().read_text(encoding="utf-8").splitlines() if (word := line.strip()))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(("objective", "word_list"), f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")]) from None


class Same:
    """Random numbers for rows that depend on what stands in them, padding aside, and on nothing else."""

    def __init__(self, tokens: Tensor, documents: Tensor | None):
        real = torch.ones_like(tokens, dtype=torch.bool) if documents is None else documents != PADDING
        self.random = [np.random.default_rng(key("same", str(row[kept].tolist()))) for row, kept in zip(tokens, real, strict=True)]

    def uniform(self, length: int) -> Tensor:
        """(B, length) in [0, 1)."""
        return torch.from_numpy(np.stack([random.random(length) for random in self.random]))


class Masked(Choosing):
    """-Σ log p(x_t | x with some tokens hidden) over the hidden tokens: of those chosen, 80 % masked, 10 % any token of the vocabulary, 10 % kept (BERT, Devlin et
    al. 2019, arXiv:1810.04805). Where the data has no tokenizer, any token of the row stands for any of the vocabulary."""

    kind: Literal["masked"] = "masked"
    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of tokens to predict."""
    mask_id: int | None = Field(default=None, ge=0)
    """The token that stands for a hidden one; none: the one the tokenizer has for it (1 in those trained here)."""
    whole_words: bool = False
    """Whether all tokens of a word are chosen together (Cui et al. 2019, arXiv:1906.08101)."""
    word_list: str | None = None
    """A file with a word a line: runs of Chinese characters fall into these, the longest first; none: every character is a word."""
    static: bool = False
    """Whether the same tokens of a text are hidden every time it is seen, instead of others each time."""
    _words: Words | None = PrivateAttr(None)
    _vocab: int = PrivateAttr(0)

    @model_validator(mode="after")
    def lists_for_words(self) -> Masked:
        if self.word_list is not None and not self.whole_words:
            raise ValueError("word_list: it is of use only with whole_words: true")
        return self

    def needs(self) -> Needs:
        return Needs(
            reads={"tokens": "ids B T"}, feeds={"tokens": "ids B T"}, wants={"hidden": "real B T D", "logits": "logits B T V"},
            traits={"bidirectional": "the model only looks back, so it would guess hidden tokens from one side; choose an encoder, or objective 'next_token'",
                    "gradients": NO_GRADIENTS},
        )

    def with_tokens(self, processor: Processor) -> Self:
        told = self.model_copy()
        if self.mask_id is None:
            if (found := processor.id("mask")) is None:
                raise ConfigError([Problem(("objective", "mask_id"), "the tokenizer has no token that stands for a hidden one: say which id shall")])
            told = self.replace(mask_id=found)
        told._vocab = processor.vocab
        if self.whole_words:
            if (spelling := processor.spelling()) is None:
                raise ConfigError([Problem(("objective", "whole_words"), "the data has no words: leave it out")])
            told._words = Words(spelling, frozenset() if self.word_list is None else read_words(self.word_list))
        return told

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        tokens = batch["tokens"]
        length = tokens.shape[1]
        uniform = Same(tokens, batch.get("documents")).uniform if self.static else draws.uniform
        chance = uniform(length)
        if self._words is not None:                                                      # the chance of a word is that of its first token
            first = torch.where(self._words.continue_in(tokens), 0, torch.arange(length)).cummax(1).values
            chance = chance.gather(1, first)
        chosen = chance < self.rate
        if "documents" in batch:
            chosen &= batch["documents"] >= 0                                            # padding is not to be guessed
        chosen[:, 0] |= ~chosen.any(dim=1)
        fate, other = uniform(length), uniform(length)
        random = (other * self._vocab).long() if self._vocab else tokens.gather(1, (other * length).long())
        shown = torch.where(fate < 0.8, torch.full_like(tokens, MASK if self.mask_id is None else self.mask_id), torch.where(fate < 0.9, random, tokens))
        return {**batch, "tokens": torch.where(chosen, shown, tokens), "targets": tokens, "chosen": chosen}

    def learned(self, batch: Batch) -> dict[str, Tensor]:
        return {"tokens": batch["chosen"], "targets": batch["chosen"]}

    def places(self, model: nn.Module, run: Run, batch: Batch) -> Places:
        chosen = batch["chosen"]
        outputs = run(batch, counted=chosen)
        hidden = outputs["hidden"][chosen]
        return Places(outputs, hidden, model.head, batch["targets"][chosen], torch.ones(len(hidden), device=hidden.device))    # type: ignore[arg-type]

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        at = self.places(model, run, batch)
        return with_auxiliary(model, at.outputs, token_loss(model, at.hidden, at.targets, at.weights), len(at.targets))

    def tasks(self) -> dict[str, str]:
        return {"tokens": "fill-mask"}
