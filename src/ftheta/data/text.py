"""The text pipeline: documents → cleaned → split → tokenizer → tokens, each a cached stage, with an account of what happened."""

from __future__ import annotations

import io
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from ftheta.core.atomic import Attempt
from ftheta.core.contract import Ports
from ftheta.core.errors import DataError
from ftheta.core.log import logger
from ftheta.data.clean.rules import Rule, judge
from ftheta.data.documents import Document
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared, Sections, SourceConfig
from ftheta.data.split import SPLITS, assign
from ftheta.data.stages import digest, stage
from ftheta.data.tokens import TokenDataset


class TextSource(SourceConfig):
    """A source of documents, which cleaning, splitting, a tokenizer and packing turn into rows of tokens."""

    sections = frozenset({"clean", "split", "tokenizer", "pack"})

    def ports(self) -> Ports:
        return Ports(gives={"tokens": "ids B T", "documents": "ids B T"})

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Every document, in a fixed order. Raises DataError naming file and byte for what cannot be read."""

    def prepare(self, sections: Sections) -> Prepared:
        length, lookahead = sections.pack.length, sections.lookahead
        text = prepare_text(self, sections)
        splits: dict[str, Dataset] = {}
        for name in SPLITS:
            if name == "train" or text.account["tokens"][name]["tokens"] >= length + lookahead:
                rows = TokenDataset(text.tokens / f"{name}.npy", text.fingerprint(name), text.processor.vocab, length, lookahead, text.processor.borders)
                splits[name] = rows
        return Prepared(splits["train"].ports, text.processor, splits, {name: text.texts(name) for name in ("train", "test")}, text.account)


@dataclass
class PreparedText:
    """The stages' folders and what they counted."""

    documents: Path
    processor: TextProcessor
    tokens: Path
    account: dict[str, Any]

    @property
    def tokenizer(self) -> Tokenizer:
        return self.processor.tokenizer

    def texts(self, split: str) -> list[str]:
        """The cleaned documents of a split."""
        return pq.read_table(self.documents / f"{split}.parquet").column("text").to_pylist()

    def names(self, split: str) -> list[str]:
        return pq.read_table(self.documents / f"{split}.parquet").column("name").to_pylist()

    def fingerprint(self, split: str) -> str:
        return self.account["tokens"][split]["fingerprint"]


def prepare_text(source: TextSource, sections: Sections) -> PreparedText:
    """Run or find every stage. Raises DataError for unreadable, empty or too little text."""
    documents = documents_stage(source, sections)
    account = json.loads((documents / "account.json").read_text())
    content = account["fingerprint"]

    def training_texts() -> list[str]:
        return pq.read_table(documents / "train.parquet").column("text").to_pylist()

    processor = made_processor(content, training_texts, sections)
    made, borders = processor.tokenizer, processor.borders

    def tokenize(attempt: Attempt) -> None:
        logger.info("tokenizing ...")
        counts = {}
        for name in SPLITS:
            texts = pq.read_table(documents / f"{name}.parquet").column("text").to_pylist()
            counts[name] = write_tokens(attempt, name, made, texts, borders)
        attempt.write_json("counts.json", counts)

    tokens = stage(sections.cache, "tokens", {"documents": content, "tokenizer": digest(made.to_str()), "borders": list(borders)}, tokenize)
    account["tokens"] = json.loads((tokens / "counts.json").read_text())
    return PreparedText(documents, processor, tokens, account)


def made_processor(content: str, texts: Callable[[], list[str]], sections: Sections) -> TextProcessor:
    """The processor with the tokenizer made from texts, which `content` is the address of; found again where it has been made before."""
    tokenizer = sections.tokenizer

    def make(attempt: Attempt) -> None:
        given = texts()
        logger.info("making the tokenizer (%s training documents) ...", f"{len(given):,}")
        made = tokenizer.train(given)
        processor = TextProcessor(made, tokenizer.roles(made))
        processor.chat_template = tokenizer.chat_template()
        for name, data in processor.files().items():
            attempt.write(name, data)

    made = TextProcessor.load({"kind": TextProcessor.kind}, stage(sections.cache, "tokenizer", {"documents": content, "tokenizer": tokenizer.key()}, make))
    made.tokenizer.add_special_tokens([token for token in sections.controls if made.id(token) is None])
    return made


def documents_stage(source: TextSource, sections: Sections) -> Path:
    """Read, clean and split; content-addressed by what was read."""
    rules, split, seed = sections.clean, sections.split, sections.seed
    read = list(source.documents())
    content = digest([[document.name, digest(document.text.encode())] for document in read])

    def build(attempt: Attempt) -> None:
        kept, dropped = clean(read, rules)
        if not kept:
            raise DataError(f"data: nothing is left of {len(read):,} documents after cleaning ({dict(dropped) or 'all were empty'})")
        parts = assign([name for name, _ in kept], split, seed)
        account: dict[str, Any] = {"documents_read": len(read), "dropped": dict(dropped), "splits": {}}
        for part in SPLITS:
            rows = [kept[i] for i in parts[part]]
            table = pa.table({"name": [name for name, _ in rows], "text": [text for _, text in rows]}, schema=pa.schema([("name", pa.string()), ("text", pa.string())]))
            sink = io.BytesIO()
            pq.write_table(table, sink)
            attempt.write(f"{part}.parquet", sink.getbuffer())
            account["splits"][part] = {"documents": len(rows), "bytes": sum(len(text.encode()) for _, text in rows)}
        account["fingerprint"] = digest([[part, [list(kept[i]) for i in parts[part]]] for part in SPLITS])
        attempt.write_json("account.json", account)

    facts = {"content": content, "rules": [rule.dump() for rule in rules], "split": split.dump(), "seed": seed}
    return stage(sections.cache, "documents", facts, build)


def clean(documents: Sequence[Document], rules: Sequence[Rule]) -> tuple[list[tuple[str, str]], Counter[str]]:
    """Apply every rule in turn; the kept (name, text) pairs and how many were dropped for which reason."""
    kept: list[tuple[str, str]] = []
    dropped: Counter[str] = Counter()
    for document in documents:
        verdict = judge(document, rules)
        if verdict.text is None:
            dropped[verdict.reason] += 1
        else:
            kept.append((document.name, verdict.text))
    return kept, dropped


def write_tokens(attempt: Attempt, name: str, tokenizer: Tokenizer, texts: Sequence[str], borders: tuple[int, int]) -> dict[str, Any]:
    """One .npy of all documents end to end, the tokens that begin and end one around each, in the smallest type that holds every id."""
    kind = np.uint16 if max(tokenizer.get_vocab().values()) < 1 << 16 else np.uint32
    first, last = borders
    pieces = []
    for start in range(0, len(texts), 256):
        for encoding in tokenizer.encode_batch_fast(list(texts[start : start + 256]), add_special_tokens=False):
            pieces.append(np.array([first, *encoding.ids, last], dtype=kind))
    tokens = np.concatenate(pieces) if pieces else np.empty(0, dtype=kind)
    sink = io.BytesIO()
    np.save(sink, tokens)
    attempt.write(f"{name}.npy", sink.getbuffer())
    size = sum(len(text.encode()) for text in texts)
    return {"tokens": len(tokens), "bytes": size, "bytes_per_token": round(size / max(1, len(tokens)), 4), "fingerprint": digest(tokens.tobytes())}
