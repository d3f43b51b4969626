"""Documents laid whole into rows: which pieces of a shard's tokens make up each row, found by best fit (Ding et al. 2024, arXiv:2404.10830).

A document longer than a row is cut every `length` tokens, each piece going on `lookahead` tokens into the next, so that every token is predicted once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ftheta.core.atomic import Attempt
from ftheta.core.best_fit import best_fit
from ftheta.data.corpus.comparing import write_array
from ftheta.data.corpus.shards import ACCOUNT
from ftheta.data.corpus.step import Step
from ftheta.data.split import SPLITS
from ftheta.data.stages import intact


class Fit(Step):
    """A shard's tokens → for each part its pieces (P, 2), where each begins and how long it is, row after row, and where each row's begin (R + 1,)."""

    kind: Literal["fit"] = "fit"
    length: int
    """Tokens of a row."""
    lookahead: int
    """Tokens after it that are only predicted."""

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        [folder] = inputs
        account = {}
        for name in SPLITS:
            pieces = cut(np.load(intact(folder, f"{name}-lengths.npy")), self.length, self.lookahead)
            rows = best_fit(pieces[:, 1], self.length + self.lookahead)
            order = np.array([piece for row in rows for piece in row], np.int64)
            write_array(attempt, f"{name}-pieces.npy", pieces[order])
            write_array(attempt, f"{name}-rows.npy", np.cumsum([0, *map(len, rows)]))
            account[name] = {"rows": len(rows), "laid": int(pieces[:, 1].sum()), "room": len(rows) * (self.length + self.lookahead)}
        attempt.write_json(ACCOUNT, account)


def cut(lengths: np.ndarray, length: int, lookahead: int) -> np.ndarray:
    """(P, 2): where every piece of the documents begins, and its tokens, for documents (n,) end to end."""
    lengths = lengths.astype(np.int64)
    counts = np.maximum(1, -(-(lengths - lookahead) // length))                           # as many as begin where something is left to predict
    within = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) * length
    left = np.repeat(lengths, counts) - within
    return np.stack([np.repeat(np.cumsum(lengths) - lengths, counts) + within, np.minimum(left, length + lookahead)], axis=1)
