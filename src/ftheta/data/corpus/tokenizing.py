"""The texts of a shard as tokens: one array for each part, documents end to end, the tokens that begin and end one around each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ftheta.core.atomic import Attempt
from ftheta.data.corpus.comparing import write_array
from ftheta.data.corpus.ledger import Ledger
from ftheta.data.corpus.shards import ACCOUNT, read_documents
from ftheta.data.corpus.step import Step
from ftheta.data.documents import Document
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
            pieces, ledger = [np.empty(0, kind)], Ledger()
            for documents in batched(read_documents(folder / f"{name}.parquet"), TOGETHER):
                for document, encoding in zip(documents, tokenizer.encode_batch_fast([one.text for one in documents], add_special_tokens=False), strict=True):
                    pieces.append(np.array([first, *encoding.ids, last], kind))
                    ledger.add(document, len(pieces[-1]))
            tokens = np.concatenate(pieces)
            write_array(attempt, f"{name}.npy", tokens)
            counts[name] = {"tokens": len(tokens), "bytes": ledger.bytes, "fingerprint": digest(tokens.tobytes()), "ledger": ledger.entries}
        attempt.write_json(ACCOUNT, counts)


def batched(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    left = iter(documents)
    while batch := list(itertools.islice(left, size)):
        yield batch
