"""The texts of a shard as tokens: one array for each part, documents end to end, the tokens that begin and end one around each, and how long each is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash

from ftheta.core.atomic import Attempt
from ftheta.data.corpus.comparing import write_array
from ftheta.data.corpus.ledger import Ledger
from ftheta.data.corpus.shards import ACCOUNT, DOCUMENTS, read_documents, write_documents
from ftheta.data.corpus.step import Step
from ftheta.data.dedup.deduplication import compact
from ftheta.data.documents import Document
from ftheta.data.processors.text import TextProcessor
from ftheta.data.split import SPLITS

TOGETHER = 1 << 18
"""Characters of documents that are tokenized at a time; a token takes many times the memory of its text while it is found."""


def drawn(text: str, share: float) -> bool:
    """Whether a text is one of a share of all, by a hash of it: wherever it stands and whoever asks."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"), seed=1) < share * 2**64


class Sample(Step):
    """Divided documents → a share of those that train, for a tokenizer that needs no more."""

    kind: Literal["sample"] = "sample"
    share: float
    """How large a part of the documents."""

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        [folder] = inputs
        write_documents(attempt, DOCUMENTS, (document for document in read_documents(folder / "train.parquet") if drawn(document.text, self.share)))


class Tokens(Step):
    """Divided documents and a tokenizer's folder → an array of each part, in the smallest type that holds every id, and its documents' lengths (n,)."""

    kind: Literal["tokens"] = "tokens"

    def key(self) -> Mapping[str, Any]:
        return {**self.dump(), "arrays": ["tokens", "lengths"]}

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
            tokens, lengths = np.concatenate(pieces), np.array([len(piece) for piece in pieces[1:]], np.int64)
            write_array(attempt, f"{name}.npy", tokens)
            write_array(attempt, f"{name}-lengths.npy", compact(lengths))
            counts[name] = {"tokens": len(tokens), "bytes": ledger.bytes, "fingerprint": xxhash.xxh3_128_hexdigest(tokens.data), "ledger": ledger.entries}
        attempt.write_json(ACCOUNT, counts)


def batched(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    """Documents in runs of about `size` characters, one at least."""
    batch, held = [], 0
    for document in documents:
        batch.append(document)
        held += len(document.text)
        if held >= size:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
