"""How tokenizers cut the same documents: bytes a token, tokens a word, unknown tokens, for each source or language of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ftheta.data.corpus.corpus import Corpus
from ftheta.data.corpus.looking import documents_of
from ftheta.data.corpus.tokenizing import drawn
from ftheta.data.documents import Document
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.spelling import WORD

MOST = 4_000_000
"""Bytes of documents that are looked at, drawn by hashes of their texts."""


@dataclass
class Cut:
    """What a tokenizer made of some documents."""

    tokenizer: str
    group: str
    """The documents' source and language, where they say so."""
    bytes: int = 0
    words: int = 0
    """Runs of letters and digits, every Chinese character and every other sign."""
    tokens: int = 0
    unknown: int = 0

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / max(1, self.tokens)

    @property
    def fertility(self) -> float:
        """Tokens a word."""
        return self.tokens / max(1, self.words)

    @property
    def share_unknown(self) -> float:
        return self.unknown / max(1, self.tokens)


def group_of(document: Document) -> str:
    return ", ".join(str(document.facts[name]) for name in ("source", "language") if name in document.facts) or "all"


def held_out(corpus: Corpus) -> Iterator[Document]:
    """Documents that no tokenizer was learned from: those of the test and validation splits, or a share of them."""
    parts = corpus.stages[-1].account
    share = MOST / max(1, sum(parts[name]["bytes"] for name in ("validation", "test")))
    for found in documents_of(corpus, "divide"):
        if found.split != "train" and drawn(found.document.text, share):
            yield found.document


def measure(corpus: Corpus, tokenizers: Mapping[str, TextProcessor]) -> list[Cut]:
    """One entry for each tokenizer and group of documents, by group."""
    found: dict[tuple[str, str], Cut] = {}
    unknown = {name: processor.id("unk") for name, processor in tokenizers.items()}
    for document in held_out(corpus):
        size, words = len(document.text.encode()), len(WORD.findall(document.text))
        for name, processor in tokenizers.items():
            ids = processor.encode(document.text, start=False)
            cut = found.setdefault((group_of(document), name), Cut(name, group_of(document)))
            cut.bytes, cut.words, cut.tokens = cut.bytes + size, cut.words + words, cut.tokens + len(ids)
            cut.unknown += sum(i == unknown[name] for i in ids)
    order = list(tokenizers)
    return sorted(found.values(), key=lambda cut: (cut.group, order.index(cut.tokenizer)))
