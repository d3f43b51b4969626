"""The text pipeline: documents → cleaned → split → tokenizer → tokens, each a cached stage, with an account of what happened."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator
from tokenizers import Tokenizer

from ftheta.core.atomic import Attempt
from ftheta.core.config import Config
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError, DataError, Problem
from ftheta.core.log import logger
from ftheta.core.random import key
from ftheta.data.clean.rules import Rule
from ftheta.data.processors.text import TextProcessor
from ftheta.data.sources.source_config import TextSource
from ftheta.data.stages import digest, stage
from ftheta.data.tokenizers.trained import TokenizerConfig

SPLITS = ("train", "validation", "test")


class Split(Config):
    """Which share of the documents is kept for checking; the rest trains."""

    validation: float = Field(default=0.05, ge=0, lt=1)
    """Looked at during training."""
    test: float = Field(default=0.05, ge=0, lt=1)
    """Looked at once, at the end."""


class Shorter(Config):
    """A stretch of training with shorter rows."""

    until: float = Field(gt=0, lt=1)
    """Share of the budget at which it ends."""
    length: int = Field(gt=1)
    """Tokens in a row; must divide the full length."""


class Pack(Config):
    """How documents become rows of equal length."""

    length: int = Field(default=256, gt=1)
    """Tokens in a row."""
    ramp: tuple[Shorter, ...] = ()
    """Shorter rows first: each is cut into pieces until its share of the budget is used (Li et al. 2021, arXiv:2108.06084)."""

    @model_validator(mode="after")
    def divides(self) -> Pack:
        for i, stretch in enumerate(self.ramp):
            if self.length % stretch.length:
                raise ConfigError([Problem(("ramp", i, "length"), f"{stretch.length} does not divide the row's {self.length} tokens")])
            if i and stretch.until <= self.ramp[i - 1].until:
                raise ConfigError([Problem(("ramp", i, "until"), "must be later than the stretch before it")])
        return self


class Ramp:
    """Cuts rows of tokens into shorter ones, as far as training has come; the same tokens, targets included, in the same order."""

    def __init__(self, pack: Pack, lookahead: int):
        self.pack = pack
        self.lookahead = lookahead

    def __call__(self, batch: Batch, progress: float) -> Batch:
        length = next((stretch.length for stretch in self.pack.ramp if progress < stretch.until), self.pack.length)
        if length == self.pack.length:
            return batch
        return {name: value.unfold(1, length + self.lookahead, length).flatten(0, 1) for name, value in batch.items()}


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


def prepare_text(source: TextSource, rules: Sequence[Rule], split: Split, tokenizer: TokenizerConfig, cache: Path, seed: int) -> PreparedText:
    """Run or find every stage. Raises DataError for unreadable, empty or too little text."""
    documents = documents_stage(source, rules, split, cache, seed)
    account = json.loads((documents / "account.json").read_text())
    content = account["fingerprint"]

    def training_texts() -> list[str]:
        return pq.read_table(documents / "train.parquet").column("text").to_pylist()

    processor = made_processor(content, training_texts, tokenizer, cache)
    made, borders = processor.tokenizer, processor.borders

    def tokenize(attempt: Attempt) -> None:
        logger.info("tokenizing ...")
        counts = {}
        for name in SPLITS:
            texts = pq.read_table(documents / f"{name}.parquet").column("text").to_pylist()
            counts[name] = write_tokens(attempt, name, made, texts, borders)
        attempt.write_json("counts.json", counts)

    tokens = stage(cache, "tokens", {"documents": content, "tokenizer": digest(made.to_str()), "borders": list(borders)}, tokenize)
    account["tokens"] = json.loads((tokens / "counts.json").read_text())
    return PreparedText(documents, processor, tokens, account)


def made_processor(content: str, texts: Callable[[], list[str]], tokenizer: TokenizerConfig, cache: Path) -> TextProcessor:
    """The processor with the tokenizer made from texts, which `content` is the address of; found again where it has been made before."""

    def make(attempt: Attempt) -> None:
        given = texts()
        logger.info("making the tokenizer (%s training documents) ...", f"{len(given):,}")
        made = tokenizer.train(given)
        processor = TextProcessor(made, tokenizer.roles(made))
        processor.chat_template = tokenizer.chat_template()
        for name, data in processor.files().items():
            attempt.write(name, data)

    return TextProcessor.load({"kind": TextProcessor.kind}, stage(cache, "tokenizer", {"documents": content, "tokenizer": tokenizer.key()}, make))


def documents_stage(source: TextSource, rules: Sequence[Rule], split: Split, cache: Path, seed: int) -> Path:
    """Read, clean and split; content-addressed by what was read."""
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
    return stage(cache, "documents", facts, build)


def clean(documents: Sequence[Any], rules: Sequence[Rule]) -> tuple[list[tuple[str, str]], Counter[str]]:
    """Apply every rule in turn; the kept (name, text) pairs and how many were dropped for which reason."""
    kept: list[tuple[str, str]] = []
    dropped: Counter[str] = Counter()
    for document in documents:
        text: str | None = document.text
        reason = "empty"
        for rule in rules:
            verdict = rule.apply(text or "")
            text, reason = verdict.text, verdict.reason or reason
            if text is None:
                break
        if text is None or not text.strip():
            dropped[reason] += 1
        else:
            kept.append((document.name, text))
    return kept, dropped


def assign(names: Sequence[str], split: Split, seed: int) -> dict[str, list[int]]:
    """Documents in an order given by hashes of (seed, name): the first share validates, the next tests, the rest trains."""
    order = sorted(range(len(names)), key=lambda i: (key(seed, "split", names[i]), i))
    validation = max(1, round(split.validation * len(names))) if split.validation else 0
    test = max(1, round(split.test * len(names))) if split.test else 0
    if validation + test >= len(names):
        raise DataError(f"data.split: {len(names)} documents cannot be split into validation, test and training; give more documents or smaller shares")
    return {"validation": sorted(order[:validation]), "test": sorted(order[validation : validation + test]), "train": sorted(order[validation + test :])}


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
