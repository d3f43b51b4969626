"""Which documents train, validate and test: decided over all shards by hashes of their names, those that belong together kept together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash

from ftheta.core.atomic import Attempt
from ftheta.core.random import key
from ftheta.data.corpus.comparing import write_array
from ftheta.data.corpus.shards import ACCOUNT, DOCUMENTS, read_documents, write_documents
from ftheta.data.corpus.step import Step
from ftheta.data.split import SPLITS, Split, divide
from ftheta.data.stages import intact


class Keys(Step):
    """Documents → hashes of their names, which say where they come in the order, and of their texts, which say which are equal."""

    kind: Literal["keys"] = "keys"
    seed: int
    """Decides the order."""

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        [folder] = inputs
        names, texts = list[int](), list[int]()
        for document in read_documents(folder / DOCUMENTS):
            names.append(key(self.seed, "split", document.name))
            texts.append(xxhash.xxh3_64_intdigest(document.text.encode()))
        write_array(attempt, "names.npy", np.array(names, np.uint64))
        write_array(attempt, "texts.npy", np.array(texts, np.uint64))


class Assign(Step):
    """The keys of all shards, and perhaps a comparison of them → the part of every document, a file for each shard."""

    kind: Literal["assign"] = "assign"
    split: Split
    """How large the parts are."""
    origins: tuple[str, ...]
    """The origin of every shard: the shares are taken of each."""
    compared: bool = False
    """Whether the last input is a comparison, whose like documents stay together as equal ones do."""

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        keyed = inputs[:-1] if self.compared else inputs
        names = [np.load(intact(folder, "names.npy")) for folder in keyed]
        texts = np.concatenate([np.load(intact(folder, "texts.npy")) for folder in keyed])
        _, first, which = np.unique(texts, return_index=True, return_inverse=True)
        groups = first[which]
        if self.compared:
            clusters = np.concatenate([np.load(intact(inputs[-1], f"{number:06}/cluster.npy")) for number in range(len(keyed))])
            groups = clusters[groups]                                                     # equal documents are in one cluster
        origins = np.repeat([self.origins.index(origin) for origin in self.origins], [len(shard) for shard in names])[groups]
        parts, keys = np.empty(len(groups), np.int8), np.concatenate(names)
        for origin in np.unique(origins):
            [mine] = (origins == origin).nonzero()                                        # a document goes with the one that it belongs with
            parts[mine] = divide(keys[mine], np.searchsorted(mine, groups[mine]), self.split)
        for number, part in enumerate(np.split(parts, np.cumsum([len(shard) for shard in names])[:-1])):
            write_array(attempt, f"{number:06}.npy", part)


class Divide(Step):
    """Documents and their parts → a file of each part."""

    kind: Literal["divide"] = "divide"
    number: int
    """Which shard of the assignment this is."""

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        folder, assigned = inputs
        parts = np.load(intact(assigned, f"{self.number:06}.npy"))
        account: dict[str, Any] = {}
        for number, name in enumerate(SPLITS):
            sizes = list[int]()
            chosen = (document for document, part in zip(read_documents(folder / DOCUMENTS), parts, strict=True) if part == number)
            write_documents(attempt, f"{name}.parquet", (document for document in chosen if sizes.append(len(document.text.encode())) is None))
            account[name] = {"documents": len(sizes), "bytes": sum(sizes)}
        attempt.write_json(ACCOUNT, account)
