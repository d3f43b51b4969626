"""Hidden tokens, and whether one text comes after another (BERT; Devlin et al. 2018, arXiv:1810.04805), or which of two comes first (ALBERT; Lan et al.
2019, arXiv:1909.11942).

The longest document of a row is cut in two, where a sentence ends if one does. Half of the time the second part is another document of the row
(`random`; where there is none, the parts change places) or stands first (`swapped`). What the model reads is [CLS] a [SEP] b [SEP], one pair a row.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import nn
from torch.nn import functional as F

from ftheta.core.contract import PADDING, Batch, Loss, Needs
from ftheta.core.errors import ConfigError, Problem
from ftheta.core.random import Draws
from ftheta.data.processors.processor import Processor
from ftheta.data.tokenizers.spelling import Spelling
from ftheta.data.tokenizers.trained import BOS, EOS, PAD
from ftheta.objectives.denoising import AROUND, texts
from ftheta.objectives.masked import Masked
from ftheta.objectives.objective import Phase, Run


class NextSentence(Masked):
    """The loss of hidden tokens plus, for as many tokens as are hidden in a row, -log p of whether its second text follows the first."""

    kind: Literal["next_sentence"] = "next_sentence"                                      # type: ignore[assignment]
    second: Literal["random", "swapped"] = "random"
    """What stands in place of the right second text half of the time: another document, or the first text, the two having changed places."""
    _controls: tuple[int, int, int] = PrivateAttr((BOS, EOS, PAD))
    _around: tuple[int, ...] = PrivateAttr((BOS, EOS, PAD))
    _spelling: Spelling | None = PrivateAttr(None)

    def needs(self) -> Needs:
        needs = super().needs()
        return Needs(needs.reads, {**needs.feeds, "documents": "ids B T", "segments": "ids B T"}, {**needs.wants, "follows": "logits B 2"}, needs.traits)

    def with_tokens(self, processor: Processor) -> Self:
        told = super().with_tokens(processor).model_copy()
        found = [next((i for role in roles if (i := processor.id(role)) is not None), None) for roles in (("cls", "bos"), ("sep", "eos"))]
        if found[0] is None or found[1] is None:
            raise ConfigError([Problem(("objective",), "the tokenizer has no tokens around texts: name them, as in special: {cls: '[CLS]', sep: '[SEP]'}")])
        told._controls = (found[0], found[1], processor.id("pad") or 0)
        told._around = tuple(i for role in AROUND if (i := processor.id(role)) is not None)
        told._spelling = processor.spelling()
        return told

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        tokens = batch["tokens"].numpy()
        documents = batch["documents"].numpy() if "documents" in batch else np.zeros_like(tokens)
        begin, sep, pad = self._controls
        made, numbers, segments = np.full_like(tokens, pad), np.full_like(tokens, PADDING), np.zeros_like(tokens)
        follows = np.zeros(len(tokens), dtype=np.int64)
        for row, seed in enumerate(draws.integers(1 << 62).tolist()):                      # a row's own numbers, however wide the batch is
            found = list(texts(tokens[row], documents[row], self._around))
            first, second, follows[row] = self.pair(found, tokens.shape[1] - 3, np.random.default_rng(seed))
            ids = [begin, *first, sep, *second, sep][: tokens.shape[1]]
            made[row, : len(ids)], numbers[row, : len(ids)] = ids, 0
            segments[row, len(first) + 2 : len(ids)] = 1
        plain = torch.from_numpy(numbers)
        free = plain.masked_fill(torch.from_numpy(np.isin(made, (begin, sep))), PADDING)   # tokens around texts are not to be guessed
        hidden = super().prepare({**batch, "tokens": torch.from_numpy(made), "documents": free}, draws)
        return {**hidden, "documents": plain, "segments": torch.from_numpy(segments), "follows": torch.from_numpy(follows)}

    def pair(self, found: list[np.ndarray], room: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        """Two texts of together at most `room` tokens, and 1 if the second does not follow the first."""
        longest = max(range(len(found)), key=lambda i: len(found[i]))
        text = found[longest][:room]
        ends = np.flatnonzero(self._spelling.sentence_ends(text)[:-1]) + 1 if self._spelling is not None and len(text) else np.empty(0, dtype=np.int64)
        places = ends if len(ends) else np.arange(1, max(2, len(text)))
        cut = int(random.choice(places))
        first, second = text[:cut], text[cut:]
        wrong, others = int(random.random() < 0.5), [other for i, other in enumerate(found) if i != longest and len(other) > 1]
        if wrong and self.second == "random" and others:
            return first, others[int(random.integers(len(others)))][: room - len(first)], 1
        return (second, first, 1) if wrong else (first, second, 0)

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        outputs = run(batch, counted=batch["chosen"])
        found = super().loss(model, lambda part, **more: outputs, batch, phase)            # one pass for both
        follows, right = outputs["follows"].float(), batch["follows"]
        each = F.cross_entropy(follows, right, reduction="none")
        weights = batch["chosen"].sum(1)
        accuracy = ((follows.detach().argmax(-1) == right).sum(), len(right))
        return Loss(found.total + (each * weights).sum(), found.count, {**found.metrics, "follows_accuracy": accuracy})
