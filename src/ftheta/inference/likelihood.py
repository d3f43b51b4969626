"""log p of given text under a model: of what goes on from a text (decoders), of tokens hidden one at a time (masked models).

    log p(a | b) = Σ_t log p(a_t | b, a_<t)
    pseudo-log-likelihood = Σ_t log p(x_t | x without x_t)  (Salazar et al. 2020, arXiv:1910.14659)

Rows are padded on the right; padding is a document of its own, so a number does not depend on what else is looked at beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from ftheta.architectures.architecture import Architecture, call
from ftheta.core.contract import PADDING, Batch
from ftheta.core.errors import UsageError
from ftheta.data.processors.processor import Processor
from ftheta.data.processors.text import TextProcessor

TOGETHER = 32
"""Rows looked at in one batch."""
Normalise = Literal["none", "tokens", "bytes", "characters"]
"""What log p of a choice is divided by, so that long choices are not at a disadvantage."""


class Scored(NamedTuple):
    """log p (nats) of some tokens, how many they are, and whether each is the likeliest at its place."""

    log_p: float
    tokens: int
    greedy: bool


@torch.no_grad()
def continuations(model: Architecture, rows: Sequence[tuple[Sequence[int], Sequence[int]]], longest: int) -> list[Scored]:
    """Every second sequence given the first, which holds a token at least. What is too long loses its beginning; a continuation that alone is too long
    is looked at in parts, each with what comes before it."""
    parts: list[tuple[int, list[int], int]] = []                                            # number of the row, tokens looked at, how many of the last count
    for number, (before, after) in enumerate(rows):
        whole, step = [*before, *after], len(after) if len(after) <= longest else max(1, longest // 2)
        for start in range(len(before), len(whole), step):
            end = min(start + step, len(whole))
            parts.append((number, whole[max(0, end - longest - 1) : end], end - start))
    model.eval()
    found = [Scored(0.0, 0, True)] * len(rows)
    order = sorted(parts, key=lambda part: len(part[1]))
    for start in range(0, len(order), TOGETHER):
        batch = order[start : start + TOGETHER]
        hidden = call(model, padded([tokens[:-1] for _, tokens, _ in batch]))["hidden"]
        for row, (number, tokens, fresh) in enumerate(batch):
            logits = model.head(hidden[row, len(tokens) - 1 - fresh : len(tokens) - 1])      # type: ignore[operator]
            target = torch.tensor(tokens[-fresh:])
            log_p = logits.log_softmax(-1).gather(-1, target[:, None]).double().sum()
            last = found[number]
            found[number] = Scored(last.log_p + float(log_p), last.tokens + fresh, last.greedy and bool((logits.argmax(-1) == target).all()))
    return found


@torch.no_grad()
def hidden_tokens(model: Architecture, rows: Sequence[tuple[Sequence[int], Sequence[int]]], mask: int) -> list[list[float]]:
    """For every sequence and places in it: log p of the token at each place, hidden by itself."""
    model.eval()
    asked = [(number, place, at) for number, (_, places) in enumerate(rows) for at, place in enumerate(places)]
    found = [[0.0] * len(places) for _, places in rows]
    order = sorted(asked, key=lambda one: len(rows[one[0]][0]))
    for start in range(0, len(order), TOGETHER):
        batch = order[start : start + TOGETHER]
        shown = [[mask if i == place else token for i, token in enumerate(rows[number][0])] for number, place, _ in batch]
        hidden = call(model, padded(shown))["hidden"]
        logits = model.head(torch.stack([hidden[row, place] for row, (_, place, _) in enumerate(batch)]))  # type: ignore[operator]
        for values, (number, place, at) in zip(logits.log_softmax(-1), batch, strict=True):
            found[number][at] = float(values[rows[number][0][place]])
    return found


def padded(rows: Sequence[Sequence[int]]) -> Batch:
    """tokens and documents (B, T) of rows of unequal length, padded on the right."""
    width = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    documents = torch.tensor([[0] * len(row) + [PADDING] * (width - len(row)) for row in rows])
    return {"tokens": tokens, "documents": documents} if int(documents.min()) == PADDING else {"tokens": tokens}


def ensure_continues(model: Architecture, processor: Processor) -> TextProcessor:
    """Its processor. Raises UsageError for a model that does not say how a text goes on."""
    ports = model.config.ports()
    if not isinstance(processor, TextProcessor) or ports.gives.get("logits") != "logits B T V" or "causal" not in ports.traits:
        raise UsageError(f"'{model.config.name}' does not say how a text goes on: choose a decoder that was trained on text")
    return processor


def score_texts(model: Architecture, processor: Processor, pairs: Sequence[tuple[str, str]]) -> list[Scored]:
    """Every second text as it goes on from the first (which may be empty). Raises UsageError for a model that does not continue text."""
    processor = ensure_continues(model, processor)
    return continuations(model, [processor.goes_on(before, after) for before, after in pairs], model.config.ports().sizes["T"])


def normalised(scored: Scored, text: str, by: Normalise) -> float:
    """log p of a text over its length."""
    lengths = {"none": 1, "tokens": scored.tokens, "bytes": len(text.encode()), "characters": len(text)}
    return scored.log_p / max(1, lengths[by])
