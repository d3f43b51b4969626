"""The life of text: documents → cleaned, de-duplicated, divided → tokenizer → tokens, each stage found or made, with an account of what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ftheta.core.atomic import Attempt
from ftheta.core.contract import Ports
from ftheta.core.log import logger
from ftheta.core.memory import give_back
from ftheta.data.corpus.card import card
from ftheta.data.corpus.corpus import Corpus, build_corpus
from ftheta.data.corpus.ledger import ledger_of
from ftheta.data.corpus.packing import Fit
from ftheta.data.corpus.shards import DOCUMENTS, StoredTexts, account_of
from ftheta.data.corpus.source import DocumentSource
from ftheta.data.corpus.tokenizing import Sample, Tokens, drawn
from ftheta.data.fitted import FittedDataset
from ftheta.data.mixed import Mixed
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared, Sections
from ftheta.data.split import SPLITS
from ftheta.data.stages import digest, stage, undamaged
from ftheta.data.tokens import TokenDataset


class TextSource(DocumentSource):
    """A source of documents, which cleaning, de-duplication, splitting, a tokenizer and packing turn into rows of tokens."""

    sections = frozenset({"clean", "deduplicate", "split", "tokenizer", "pack"})

    def ports(self) -> Ports:
        return Ports(gives={"tokens": "ids B T", "documents": "ids B T"})

    def prepare(self, sections: Sections) -> Prepared:
        text = prepare_text(self, sections)
        splits: dict[str, Dataset] = {}
        for name in SPLITS:
            if name == "train" or text.account["tokens"][name]["tokens"] >= sections.pack.length + sections.lookahead:
                splits[name] = text.rows(name, sections)
        if (epochs := self.epochs(text.sizes)) is not None:
            splits["train"] = Mixed({origin: text.rows("train", sections, origin) for origin in epochs}, epochs)
        return Prepared(splits["train"].ports, text.processor, splits, {name: text.texts(name) for name in ("train", "test")}, text.account, card=text.card)


@dataclass
class PreparedText:
    """The stages' folders and what they counted."""

    corpus: Corpus
    processor: TextProcessor
    tokens: list[Path]
    fitted: list[Path]
    """For every shard what lies in which row, if documents are laid whole into rows."""
    account: dict[str, Any]

    @property
    def tokenizer(self) -> Tokenizer:
        return self.processor.tokenizer

    def card(self, title: str) -> str:
        """The data card as Markdown."""
        return card(title, self.corpus, self.account)

    def texts(self, split: str) -> Sequence[str]:
        """The cleaned documents of a split."""
        return self.corpus.texts(split)

    def fingerprint(self, split: str) -> str:
        return self.account["tokens"][split]["fingerprint"]

    def files(self, split: str, origin: str | None = None) -> list[Path]:
        """The arrays of a split's tokens, of all origins or of one."""
        return [folder / f"{split}.npy" for folder, of in zip(self.tokens, self.corpus.origins, strict=True) if origin in (None, of)]

    def rows(self, split: str, sections: Sections, origin: str | None = None) -> Dataset:
        """A split as rows of tokens. Raises DataError when there is not one."""
        fingerprint = self.fingerprint(split) if origin is None else digest([self.fingerprint(split), origin])
        facts = (fingerprint, self.processor.vocab, sections.pack.length, sections.lookahead)
        if not self.fitted:
            return TokenDataset(self.files(split, origin), *facts, self.processor.borders)
        laid = [folder for folder, of in zip(self.fitted, self.corpus.origins, strict=True) if origin in (None, of)]
        return FittedDataset(self.files(split, origin), laid, *facts, self.processor.id("pad") or 0)

    @property
    def sizes(self) -> dict[str, int]:
        """Training tokens of every origin."""
        sizes = dict.fromkeys(self.corpus.origins, 0)
        for folder, origin in zip(self.tokens, self.corpus.origins, strict=True):
            sizes[origin] += account_of(folder)["train"]["tokens"]
        return sizes


def prepare_text(source: DocumentSource, sections: Sections) -> PreparedText:
    """Run or find every stage. Raises DataError for unreadable, empty or too little text."""
    return undamaged(lambda: all_stages(source, sections))


def all_stages(source: DocumentSource, sections: Sections) -> PreparedText:
    """Run or find every stage once. Raises DamagedError for one that was found and then turned out to be damaged when it was read."""
    corpus = build_corpus(source, sections)
    made = tokenizer_stage(corpus.fingerprint, lambda: to_learn_from(corpus, sections), sections)
    processor = controlled(made, sections)
    tokens = sections.executor.each("tokenize", [(Tokens(), [folder, made]) for folder in corpus.divided], sections.cache)
    found, fitted = account(corpus, tokens), list[Path]()
    if sections.pack.how == "best_fit":
        step = Fit(length=sections.pack.length, lookahead=sections.lookahead)
        fitted = sections.executor.each("pack", [(step, [folder]) for folder in tokens], sections.cache)
        found["rows"] = filled([account_of(folder) for folder in fitted])
    return PreparedText(corpus, processor, tokens, fitted, found)


def filled(accounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many rows each split has, and the share of them that is not padding."""
    total = {name: {what: sum(one[name][what] for one in accounts) for what in ("rows", "laid", "room")} for name in SPLITS}
    return {name: {"rows": of["rows"], "filled": round(of["laid"] / max(1, of["room"]), 4)} for name, of in total.items()}


def to_learn_from(corpus: Corpus, sections: Sections) -> StoredTexts:
    """The training documents, or as many of them as the tokenizer needs."""
    enough, there = sections.tokenizer.enough, corpus.stages[-1].account["train"]["bytes"]
    if enough is None or there <= enough:
        return corpus.texts("train")
    step = Sample(share=enough / there)
    return StoredTexts([folder / DOCUMENTS for folder in sections.executor.each("sample", [(step, [folder]) for folder in corpus.divided], sections.cache)])


def account(corpus: Corpus, tokens: Sequence[Path]) -> dict[str, Any]:
    """What came in, what was dropped and why, how large each split is, in documents, bytes and tokens."""
    read, divided, counts = corpus.stages[0].account, corpus.stages[-1].account, [account_of(folder) for folder in tokens]
    dropped = dict(corpus.stage("clean").account["dropped"])
    for done in corpus.stages[2:-1]:
        dropped[done.name] = done.account["dropped"]
    found: dict[str, Any] = {"documents_read": read["documents"], "dropped": dropped, "splits": divided, "tokens": {}, "fingerprint": corpus.fingerprint}
    for name in SPLITS:
        size, total = (sum(count[name][what] for count in counts) for what in ("bytes", "tokens"))
        fingerprint = digest([count[name]["fingerprint"] for count in counts])
        found["tokens"][name] = {"tokens": total, "bytes": size, "bytes_per_token": round(size / max(1, total), 4), "fingerprint": fingerprint}
    found["ledger"] = ledger_of({name: [count[name]["ledger"] for count in counts] for name in SPLITS})
    return found


def made_processor(content: str, texts: Callable[[], Sequence[str]], sections: Sections) -> TextProcessor:
    """The processor with the tokenizer made from texts, which `content` is the address of; found again where it has been made before."""
    return controlled(tokenizer_stage(content, lambda: as_many_as_needed(texts(), sections.tokenizer.enough), sections), sections)


def as_many_as_needed(texts: Sequence[str], enough: int | None) -> Sequence[str]:
    """The texts, or about `enough` bytes of them."""
    there = 0 if enough is None else sum(len(text.encode()) for text in texts)
    return texts if enough is None or there <= enough else [text for text in texts if drawn(text, enough / there)]


def tokenizer_stage(content: str, texts: Callable[[], Sequence[str]], sections: Sections) -> Path:
    """The folder of the tokenizer made from texts, which `content` is the address of."""
    tokenizer = sections.tokenizer

    def make(attempt: Attempt) -> None:
        given = texts()
        sections.executor.close()                                                         # what others hold in memory is needed here; they are begun again
        logger.info("making the tokenizer (%s training documents) ...", f"{len(given):,}")
        made = tokenizer.train(given)
        processor = TextProcessor(made, tokenizer.roles(made))
        processor.chat_template = tokenizer.chat_template()
        for name, data in processor.files().items():
            attempt.write(name, data)

    place = stage(sections.cache, "tokenizer", {"documents": content, "tokenizer": tokenizer.key()}, make)
    give_back()                                                                           # learning takes several times what it leaves
    return place


def controlled(made: Path, sections: Sections) -> TextProcessor:
    """The processor in a folder, with the control tokens that the objective needs."""
    processor = TextProcessor.load({"kind": TextProcessor.kind}, made)
    processor.tokenizer.add_special_tokens([token for token in sections.controls if processor.id(token) is None])
    return processor
