"""What a model is really fed: rows of a split after all that is done to them, with what the loss is about.

Texts are cut where the document or what is learned changes; numbers are written out, pictures are put beside each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ftheta.core.contract import PADDING, Batch
from ftheta.core.errors import UsageError, suggest
from ftheta.data.processors.processor import Processor
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Ordered
from ftheta.experience.experience import ExperienceConfig
from ftheta.lifecycle.build import build_data, build_source
from ftheta.lifecycle.pictures import beside
from ftheta.lifecycle.recipe import load

NUMBERING = ("documents", "segments")
"""How tensors end whose ids are not tokens but say what tokens belong to."""
MOST = 8
"""Numbers of a longer list that are written out."""


@dataclass(frozen=True)
class Span:
    """Tokens that follow each other and have document and loss in common."""

    text: str
    learned: bool
    """Whether the loss is about them."""
    document: int | None


@dataclass(frozen=True)
class Row:
    """One example."""

    texts: dict[str, list[Span]] = field(default_factory=dict)
    """Its tensors of tokens, padding left out."""
    facts: dict[str, str] = field(default_factory=dict)
    """Its other tensors in words."""


@dataclass(frozen=True)
class Shown:
    """Rows of a split."""

    split: str
    total: int
    """Rows of the split."""
    rows: list[Row]
    shared: dict[str, str]
    """What all rows have in common, such as a graph's edges."""
    picture: bytes | None = None
    """The rows' pictures beside each other, as PNG."""

    def plain(self) -> str:
        """As text without colour: `[[...]]` is what the loss is about, `|` stands between documents."""
        lines = [f"{self.split}: {len(self.rows)} of {self.total:,} rows", *(f"  {name}: {value}" for name, value in self.shared.items())]
        for number, row in enumerate(self.rows):
            lines.append(f"row {number}")
            lines += [f"  {name}: {marked(spans)}" for name, spans in row.texts.items()]
            lines += [f"  {name}: {value}" for name, value in row.facts.items()]
        return "\n".join(lines)


def marked(spans: Sequence[Span]) -> str:
    """Spans with plain markers."""
    text = ""
    for before, span in zip([None, *spans], spans, strict=False):
        border = before is not None and before.document != span.document
        text += ("|" if border else "") + (f"[[{span.text}]]" if span.learned else span.text)
    return text


def show_data(recipe: str | Path | Mapping[str, Any], *, changes: Sequence[str] | Mapping[str, Any] = (), split: str = "train", rows: int = 4) -> Shown:
    """The first rows that training is fed, or of another split in its order. Raises UsageError for a split that is not there, and for rows
    that a model makes while it learns.
    """
    parsed = load(recipe, changes)
    if isinstance(parsed.data.source, ExperienceConfig):
        raise UsageError("data.source: its rows come from acting with the model while it learns: there are none to look at before")
    data = build_data(parsed)
    if split not in data.splits:
        raise UsageError(f"there is no split '{split}'{suggest(split, data.splits, 'splits')}")
    dataset, objective = data.splits[split], parsed.objective.with_tokens(data.processor)
    source = build_source(parsed, data) if split == "train" else Ordered(dataset, rows, parsed.seed, objective.prepare)
    count = min(rows, source.batch_size)
    batch = source.batch(0, torch.arange(count), None)
    whole = {name for name, value in batch.items() if len(value) != count or name == "edges"}
    found = [Row(dict(texts(batch, row, data.processor, objective.learned(batch))), dict(facts(batch, row, data.processor, whole))) for row in range(count)]
    pictures = [value for name, value in batch.items() if name not in whole and value.ndim == 4]
    shared = {name: f"{' × '.join(map(str, batch[name].shape))} {str(batch[name].dtype).removeprefix('torch.')}" for name in sorted(whole)}
    return Shown(split, len(dataset), found, shared, beside(pictures[0]) if pictures else None)


def is_text(name: str, value: Tensor, processor: Processor) -> bool:
    """Whether a tensor holds tokens."""
    return isinstance(processor, TextProcessor) and value.ndim == 2 and value.dtype == torch.int64 and not name.endswith((*NUMBERING, "label"))


def texts(batch: Batch, row: int, processor: Processor, learned: Mapping[str, Tensor]) -> Iterator[tuple[str, list[Span]]]:
    """Every tensor of tokens as spans."""
    for name, value in batch.items():
        if isinstance(processor, TextProcessor) and is_text(name, value, processor):
            documents = batch.get("documents" if name in ("tokens", "targets") else f"{name}_documents")
            yield name, spans(value[row], None if documents is None else documents[row], learned[name][row] if name in learned else None, processor)


def spans(tokens: Tensor, documents: Tensor | None, learned: Tensor | None, processor: TextProcessor) -> list[Span]:
    """Tokens (T,) cut where document or loss changes; padding is left out."""
    numbers = [None] * len(tokens) if documents is None else documents.tolist()
    asked = [False] * len(tokens) if learned is None else learned.tolist()
    found: list[tuple[list[int], bool, int | None]] = []
    for token, number, this in zip(tokens.tolist(), numbers, asked, strict=True):
        if number == PADDING:
            continue
        if not found or found[-1][1:] != (this, number):
            found.append(([], this, number))
        found[-1][0].append(token)
    pad = processor.id("pad")
    while documents is None and found and not found[-1][1] and found[-1][0][-1] == pad:    # padding that no document tells apart
        found[-1][0].pop()
        found = found if found[-1][0] else found[:-1]
    return [Span(processor.tokenizer.decode(ids, skip_special_tokens=False), this, number) for ids, this, number in found]


def facts(batch: Batch, row: int, processor: Processor, whole: set[str]) -> Iterator[tuple[str, str]]:
    """The other tensors of a row: classes by name, numbers as they are, long lists cut short."""
    for name, value in batch.items():
        if name in whole or is_text(name, value, processor) or value.ndim == 4 or name.endswith(NUMBERING) or (value.dtype == torch.bool and value.ndim > 1):
            continue
        item = value[row].to_dense() if value.is_sparse else value[row]
        if item.ndim:
            flat = item.flatten().tolist()
            yield name, ", ".join(f"{number:.4g}" for number in flat[:MOST]) + (f", ... ({len(flat):,} numbers)" if len(flat) > MOST else "")
        elif name == "label" and not value.is_floating_point():
            yield name, processor.label(int(item))
        else:
            yield name, f"{item.item():.6g}" if value.is_floating_point() else str(item.item())
