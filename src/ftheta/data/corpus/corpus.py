"""A corpus: the shards of every stage that documents go through, from files to tokens, found or made, and the account of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftheta.core.catalog import numbered
from ftheta.core.config import Slot
from ftheta.core.errors import DataError
from ftheta.data.corpus.account import merged
from ftheta.data.corpus.cleaning import Clean
from ftheta.data.corpus.comparing import Compare, Deduplicate, signatures
from ftheta.data.corpus.contents import Contents
from ftheta.data.corpus.dividing import Assign, Divide, Keys
from ftheta.data.corpus.executors import Work
from ftheta.data.corpus.reading import parts, rows_of
from ftheta.data.corpus.shards import DOCUMENTS, StoredTexts, account_of, shard_name
from ftheta.data.corpus.source import DocumentSource
from ftheta.data.corpus.step import Step
from ftheta.data.dedup import DEDUPLICATIONS
from ftheta.data.dedup.deduplication import Deduplication
from ftheta.data.sources.source_config import Sections
from ftheta.data.stages import digest


@dataclass
class Stage:
    """What one stage left: a folder for each shard, and in each the file of documents to look at."""

    name: str
    folders: list[Path]
    files: list[Path]
    account: dict[str, Any] = field(default_factory=dict)


@dataclass
class Corpus:
    """Everything that was done to documents."""

    stages: list[Stage]
    """In order: read, clean, one for each way of de-duplication, divide."""
    origins: list[str]
    """For every shard the source within the source that it is of."""

    @property
    def divided(self) -> list[Path]:
        return self.stages[-1].folders

    @property
    def fingerprint(self) -> str:
        """A content address of the divided documents."""
        return digest([f"{folder.parent.name}/{folder.name}" for folder in self.divided])

    def texts(self, split: str) -> StoredTexts:
        return StoredTexts([folder / f"{split}.parquet" for folder in self.divided])

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)


def build_corpus(source: DocumentSource, sections: Sections) -> Corpus:
    """Read, clean, de-duplicate and divide every document. Raises DataError for unreadable, empty or too little text."""
    cache, executor = sections.cache, sections.executor
    stages: list[Stage] = []

    def each(name: str, work: Sequence[Work], file: str = DOCUMENTS) -> list[Path]:
        folders = executor.each(name, work, cache)
        stages.append(Stage(name, folders, [folder / file for folder in folders], merged(account_of(folder) for folder in folders)))
        return folders

    def one(what: str, step: Step, inputs: Sequence[Path]) -> Path:
        [folder] = executor.each(what, [(step, inputs)], cache)
        return folder

    def compare(way: Deduplication, shards: Sequence[Path], what: str) -> Path:
        step = signatures(way)
        return one(what, Compare(deduplication=way), executor.each(what, [(step, [shard]) for shard in shards], cache))

    contents = Contents(cache, source.dump())
    reads = list(parts(source, contents.of))
    contents.keep()
    folders = each("read", [(read, ()) for _, read in reads])
    numbers = [account_of(folder)["shards"] for folder in folders]
    stages[0].files = [folder / shard_name(number) for folder, count in zip(folders, numbers, strict=True) for number in range(count)]
    parts_of = {origin: [folder for (of, _), folder in zip(reads, folders, strict=True) if of == origin] for origin, _ in reads}
    source.finish({origin: rows_of(read) for origin, read in parts_of.items()})
    stages[0].account["rows"] = rows_of(folders).dump()
    origins = [origin for (origin, _), count in zip(reads, numbers, strict=True) for _ in range(count)]

    rules = sections.clean
    learned = {name: found for name, rule in zip(numbered([rule.name for rule in rules]), rules, strict=True) if (found := rule.learned_beforehand()) is not None}
    addresses = tuple(address for address, _ in learned.values())
    shards = each("clean", [(Clean(rules=rules, learned=addresses, number=number), [folder]) for folder, count in zip(folders, numbers, strict=True) for number in range(count)])
    stages[-1].account["learned"] = {name: report for name, (_, report) in learned.items()}
    refuse_nothing(stages)
    for way in sections.deduplicate:
        name = f"deduplicate {len(stages) - 1}"
        compared = compare(way, shards, name)
        shards = each(name, [(Deduplicate(number=number), [shard, compared]) for number, shard in enumerate(shards)])
        stages[-1].account |= {"way": way.name, "compared": account_of(compared)}
        refuse_nothing(stages)
    keyed = executor.each("split", [(Keys(seed=sections.split_seed), [shard]) for shard in shards], cache)
    if sections.split.near is not None:
        near = Slot(DEDUPLICATIONS).parse({"kind": "near", "threshold": sections.split.near})
        assert isinstance(near, Deduplication)
        keyed = [*keyed, compare(near, shards, "split")]
    assigned = one("split", Assign(split=sections.split, origins=tuple(origins), compared=len(keyed) > len(shards)), keyed)
    each("divide", [(Divide(number=number), [shard, assigned]) for number, shard in enumerate(shards)], "train.parquet")
    return Corpus(stages, origins)


def refuse_nothing(stages: Sequence[Stage]) -> None:
    """Raise DataError when a stage left no document, saying what dropped how many, there and before."""
    if stages[-1].account["documents"]:
        return
    gone = dict(stages[1].account["dropped"]) | {stage.account["way"]: stage.account["dropped"] for stage in stages[2:]}
    dropped = ", ".join(f"'{why}': {count:,}" for why, count in sorted(gone.items(), key=lambda item: -item[1]) if count)
    raise DataError(
        f"data: nothing is left of {stages[0].account['documents']:,} documents after {stages[-1].name}; dropped were {dropped}. "
        f"Loosen or leave out what drops too much in data.{'clean' if len(stages) == 2 else 'clean or data.deduplicate'}"
    )
