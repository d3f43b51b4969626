"""The next token after a prefix that is read both ways (Raffel et al. 2019, arXiv:1910.10683, section 3.2.1).

Every document is cut at a random place: tokens before it see each other, later ones see what comes before them, and those are learned. A prefix may be
a single token, so the model also learns to read a text from left to right, and that is how it reads a prompt when it generates.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import torch

from ftheta.core.contract import PADDING, Batch, Needs
from ftheta.core.random import Draws
from ftheta.objectives.language import NextToken


class PrefixLM(NextToken):
    """-Σ log p(x_{t+1} | x_{≤t}) after a prefix whose tokens see each other."""

    kind: Literal["prefix_lm"] = "prefix_lm"                                              # type: ignore[assignment]

    def needs(self) -> Needs:
        needs = super().needs()
        reason = ("the model cannot read a prefix both ways and the rest from left to right (a recurrent one never looks ahead, an encoder always does); "
                  "choose a decoder with mixer 'attention'")
        return Needs(needs.reads, needs.feeds, needs.wants, {**needs.traits, "prefix": reason})

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        tokens = batch["tokens"]
        documents = batch["documents"].numpy() if "documents" in batch else np.zeros(tokens.shape, dtype=np.int64)
        prefix = np.zeros(tokens.shape, dtype=bool)
        for row, seed in enumerate(draws.integers(1 << 62).tolist()):                      # a row's own numbers, however wide the batch is
            random = np.random.default_rng(seed)
            starts = [0, *(np.flatnonzero(np.diff(documents[row])) + 1).tolist(), tokens.shape[1]]
            for start, stop in itertools.pairwise(starts):
                if documents[row, start] != PADDING:
                    prefix[row, start : start + int(random.integers(1, max(2, stop - start)))] = True
        seen = torch.from_numpy(prefix)
        return {**batch, "prefix": seen, "learned": ~seen & batch["learned"] if "learned" in batch else ~seen}
