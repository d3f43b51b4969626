"""Comparing documents of all shards: a small signature of each shard, one decision over all signatures, and that decision carried out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from ftheta.core.atomic import Attempt, digest_file
from ftheta.core.config import Slot
from ftheta.core.errors import DataError
from ftheta.data.catalogue import place_of
from ftheta.data.corpus.account import EXAMPLES, Tally, example
from ftheta.data.corpus.shards import ACCOUNT, DOCUMENTS, read_documents, write_documents
from ftheta.data.corpus.step import Step
from ftheta.data.dedup import DEDUPLICATIONS
from ftheta.data.dedup.deduplication import Decision, Deduplication
from ftheta.data.documents import Document
from ftheta.data.stages import intact


class Signatures(Step):
    """Documents → what is compared of them."""

    kind: Literal["signatures"] = "signatures"
    deduplication: Annotated[Deduplication, Slot(DEDUPLICATIONS)]
    """What makes documents alike."""
    contents: tuple[str, ...] = ()
    """What the files are recognised by that documents are compared with."""

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        [folder] = inputs
        for name, values in self.deduplication.signature(list(read_documents(folder / DOCUMENTS))).items():
            write_array(attempt, f"{name}.npy", values)


class Compare(Step):
    """The signatures of all shards → for each what is kept, what stands for what, and what is cut out."""

    kind: Literal["compare"] = "compare"
    deduplication: Annotated[Deduplication, Slot(DEDUPLICATIONS)]
    """What makes documents alike."""

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        shards = [{file.stem: np.load(intact(folder, file.name), mmap_mode="r") for file in sorted(folder.glob("*.npy"))} for folder in inputs]
        for number, decision in enumerate(self.deduplication.decide(shards)):
            for name in ("keep", "cluster", "cuts"):
                write_array(attempt, f"{number:06}/{name}.npy", getattr(decision, name))
        attempt.write_json(ACCOUNT, self.deduplication.account(shards))


def signatures(way: Deduplication) -> Signatures:
    """The step for a way of comparing. Raises DataError for a file that is not there."""
    return Signatures(deduplication=way, contents=tuple(map(content, way.files())))


def content(path: str) -> str:
    """The hash of a file that is compared with, as the recipe names it."""
    try:
        return digest_file(place_of(path))
    except OSError as error:
        raise DataError(f"data.deduplicate.against.path: {path} cannot be read ({error.strerror}): name a .csv, .tsv or .jsonl file, or data:NAME/FILE") from None


class Deduplicate(Step):
    """Documents → what is left of them after a comparison."""

    kind: Literal["deduplicate"] = "deduplicate"
    number: int
    """Which shard of the comparison this is."""

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        folder, compared = inputs
        decision = Decision(**{name: np.load(intact(compared, f"{self.number:06}/{name}.npy")) for name in ("keep", "cluster", "cuts")})
        kept, examples, before, dropped = Tally(), list[dict[str, Any]](), 0, 0

        def left() -> Iterator[Document]:
            nonlocal before, dropped
            for place, document in enumerate(read_documents(folder / DOCUMENTS)):
                before += len(document.text.encode())
                text = decision.apply(place, document.text)
                if text is None or not text.strip():
                    dropped += 1
                    if len(examples) < EXAMPLES:
                        examples.append(example(document))
                    continue
                kept.add(after := Document(document.name, text, document.facts))
                yield after

        write_documents(attempt, DOCUMENTS, left())
        attempt.write_json(ACCOUNT, {**kept.dump(), "dropped": dropped, "examples": examples, "bytes_before": before})


def write_array(attempt: Attempt, name: str, values: np.ndarray) -> None:
    """As `np.save` does, without a copy."""
    sink, values = io.BytesIO(), np.ascontiguousarray(values)
    np.lib.format.write_array_header_1_0(sink, np.lib.format.header_data_from_array_1_0(values))
    attempt.write(name, sink.getbuffer(), *([values.data] if values.size else []))
