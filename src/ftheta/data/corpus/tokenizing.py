"""The texts of a shard as tokens: one array for each part, documents end to end, the tokens that begin and end one around each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ftheta.core.atomic import Attempt
from ftheta.data.corpus.comparing import write_array
from ftheta.data.corpus.shards import ACCOUNT, StoredTexts
from ftheta.data.corpus.step import Step
from ftheta.data.processors.text import TextProcessor
from ftheta.data.split import SPLITS
from ftheta.data.stages import digest

TOGETHER = 256
"""Documents that are tokenized at a time."""


class Tokens(Step):
    """Divided documents and a tokenizer's folder → an array of each part, in the smallest type that holds every id."""

    kind: Literal["tokens"] = "tokens"

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        folder, made = inputs
        processor = TextProcessor.load({"kind": TextProcessor.kind}, made)
        tokenizer, (first, last) = processor.tokenizer, processor.borders
        kind = np.uint16 if max(tokenizer.get_vocab().values()) < 1 << 16 else np.uint32
        counts = {}
        for name in SPLITS:
            pieces, size = [np.empty(0, kind)], 0
            for texts in batched(StoredTexts([folder / f"{name}.parquet"]), TOGETHER):
                size += sum(len(text.encode()) for text in texts)
                pieces += [np.array([first, *encoding.ids, last], kind) for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
            tokens = np.concatenate(pieces)
            write_array(attempt, f"{name}.npy", tokens)
            counts[name] = {"tokens": len(tokens), "bytes": size, "fingerprint": digest(tokens.tobytes())}
        attempt.write_json(ACCOUNT, counts)


def batched(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    left = iter(texts)
    while batch := list(itertools.islice(left, size)):
        yield batch
