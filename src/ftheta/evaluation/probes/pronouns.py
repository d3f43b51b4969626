"""How much likelier a model holds `he` than `she` in the same sentence: log p(with he) - log p(with she), natural logarithm.

At the level of the word it is the pronoun alone: where it stands hidden (masked models), or after the words before it (decoders). At the level of
the sentence everything counts: Σ log p of its tokens, for masked models of each hidden by itself (Salazar et al. 2020, arXiv:1910.14659).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from ftheta.core.errors import UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.evaluation.metrics.answered import progress
from ftheta.inference.likelihood import hidden_tokens, score_texts
from ftheta.models.model import Model

Level = Literal["word", "sentence"]
WORD = re.compile(r"[A-Za-z]+|.", re.DOTALL)


class Case(NamedTuple):
    """A sentence about somebody, twice."""

    name: str
    """Who it is about."""
    he: str
    she: str


def masked_model(model: Model) -> TextProcessor | None:
    """The processor of a model that fills in hidden tokens; None for one that continues text. Raises UsageError for any other."""
    ports, processor = model.architecture.config.ports(), model.processor
    if not isinstance(processor, TextProcessor) or ports.gives.get("logits") != "logits B T V" or not ports.traits & {"causal", "bidirectional"}:
        raise UsageError(f"this model does '{model.task.name}': the probe is for models that fill in or continue text")
    if "bidirectional" in ports.traits and processor.id("mask") is None:
        raise UsageError("this model sees both sides of a token, and its tokenizer has no token that stands for a hidden one")
    return processor if "bidirectional" in ports.traits else None


def log_probabilities(model: Model, cases: Sequence[Case], level: Level) -> np.ndarray:
    """log p with he and with she, (cases, 2)."""
    processor = masked_model(model)
    found = [row for part in progress(cases, f"{level}s") for row in (decoded(model, part, level) if processor is None else filled(model, processor, part, level))]
    return np.array(found)


def decoded(model: Model, cases: Sequence[Case], level: Level) -> list[tuple[float, float]]:
    """By a model that continues text."""
    pairs = [pair for case in cases for pair in (words(case) if level == "word" else (("", case.he), ("", case.she)))]
    scores = [scored.log_p for scored in score_texts(model.architecture, model.processor, pairs)]
    return list(zip(scores[::2], scores[1::2], strict=True))


def words(case: Case) -> tuple[tuple[str, str], tuple[str, str]]:
    """What stands before the first word in which both sentences differ, and that word, for each."""
    same = next((i for i, (a, b) in enumerate(zip(case.he, case.she, strict=False)) if a != b), min(len(case.he), len(case.she)))
    before = re.sub(r"[A-Za-z]+$", "", case.he[:same])
    ends = [WORD.match(text, len(before)) for text in (case.he, case.she)]
    if not (ends[0] and ends[1]):
        raise UsageError(f"'{case.he}' and '{case.she}' do not differ by a word")
    return (before, ends[0][0]), (before, ends[1][0])


def filled(model: Model, processor: TextProcessor, cases: Sequence[Case], level: Level) -> list[tuple[float, float]]:
    """By a model that fills in hidden tokens."""
    mask = processor.id("mask")
    assert mask is not None
    special = {i for role in processor.roles if role != "unk" if (i := processor.id(role)) is not None}
    rows: list[tuple[list[int], list[int]]] = []
    for case in cases:
        he, she = processor.blanks(case.he), processor.blanks(case.she)
        places = [i for i, (a, b) in enumerate(zip(he, she, strict=False)) if a != b]
        if level == "word" and (len(he) != len(she) or len(places) != 1):
            raise UsageError(f"'{case.he}' and '{case.she}' differ by more than one token: this tokenizer cuts the pronouns; measure only level sentence")
        for ids in (he, she):
            rows.append((ids, places if level == "word" else [i for i, token in enumerate(ids) if token not in special]))
    scores = [sum(values) for values in hidden_tokens(model.architecture, rows, mask)]
    return list(zip(scores[::2], scores[1::2], strict=True))
