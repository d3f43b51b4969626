"""The texts of a shard as tokens: one array for each part, documents end to end, the tokens that begin and end one around each, and how long each is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash

from ftheta.core.atomic import Attempt
from ftheta.core.log import logger
from ftheta.data.corpus.comparing import write_array
from ftheta.data.corpus.ledger import Ledger
from ftheta.data.corpus.shards import ACCOUNT, DOCUMENTS, read_documents, write_documents
from ftheta.data.corpus.step import Step
from ftheta.data.dedup.deduplication import compact
from ftheta.data.documents import Document
from ftheta.data.processors.text import TextProcessor
from ftheta.data.split import SPLITS
from ftheta.data.tokenizers.quick import DifferentIdsError, Plain, Quick, encoder

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
        try:
            encoded = encode(folder, processor, encoder(processor.tokenizer))
        except DifferentIdsError as error:
            logger.warning("%s: encoding %s by tokenizers, slower", error, folder.name)
            encoded = encode(folder, processor, Plain(processor.tokenizer))
        counts = {}
        for name, (tokens, lengths, ledger) in encoded.items():
            write_array(attempt, f"{name}.npy", tokens)
            write_array(attempt, f"{name}-lengths.npy", compact(lengths))
            counts[name] = {"tokens": len(tokens), "bytes": ledger.bytes, "fingerprint": xxhash.xxh3_128_hexdigest(tokens.data), "ledger": ledger.entries}
        attempt.write_json(ACCOUNT, counts)


def encode(folder: Path, processor: TextProcessor, encoder: Plain | Quick) -> dict[str, tuple[np.ndarray, np.ndarray, Ledger]]:
    """For every part of a shard its tokens (T,), its documents' lengths (n,) and where they are from. Raises DifferentIdsError where the encoder fails."""
    first, last = processor.borders
    kind = np.uint16 if processor.vocab <= 1 << 16 else np.uint32
    found = {}
    for name in SPLITS:
        pieces, ledger = [np.empty(0, kind)], Ledger()
        for documents in batched(read_documents(folder / f"{name}.parquet"), TOGETHER):
            for document, ids in zip(documents, encoder.encode([one.text for one in documents]), strict=True):
                piece = np.empty(len(ids) + 2, kind)
                piece[0], piece[1:-1], piece[-1] = first, ids, last
                pieces.append(piece)
                ledger.add(document, len(piece))
        found[name] = np.concatenate(pieces), np.array([len(piece) for piece in pieces[1:]], np.int64), ledger
    return found


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
