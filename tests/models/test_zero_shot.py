"""Choosing among labels by likelihood: planted preferences are found, and numbers are those of the formula."""

from __future__ import annotations

import math

import pytest
import torch

from ftheta.core.errors import ConfigError, DataError, UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.model import Model
from planted import looks_up


def prefers(letter: str, other: str, by: float) -> Model:
    """After a space, one letter is likelier than another by this much log p."""
    processor = TextProcessor(Bytes().train([]))
    table = torch.zeros(processor.vocab, processor.vocab)
    (space,), (first,), (second,) = (processor.encode(text, start=False) for text in (" ", letter, other))
    table[space, first], table[space, second] = by, 0.0
    return looks_up(table, processor, "zero-shot-classification")


def test_a_planted_preference_is_found_with_its_size():
    model = prefers("x", "y", 1.5)
    answer = model.predict({"text": "something", "labels": ["y", "x"], "template": "{{ text }} {{ label }}", "normalise": "none"})
    assert answer.label == "x" and answer.probability == pytest.approx(1 / (1 + math.exp(-1.5)), abs=1e-5)
    assert list(answer.probabilities) == ["x", "y"] and sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_normalising_helps_long_labels():
    model = prefers("x", "y", 3.0)
    asked = {"text": "something", "labels": ["x", "xxxx"], "template": "{{ text }} {{ label }}"}
    raw, even = (model.predict({**asked, "normalise": how}) for how in ("none", "tokens"))
    # every further letter costs log 256, more or less, while a token on the average costs less than the first
    assert raw.label == "x" and raw.probability > even.probabilities["x"]


def test_what_cannot_be_chosen_from_is_refused():
    model = prefers("x", "y", 1.0)
    for fields, kind, why in (
        ({"labels": ["a"]}, ConfigError, "labels"), ({"labels": ["a", "a"]}, UsageError, "twice"), ({"labels": ["a", "b"], "template": "{{ text }}"}, UsageError, "once"),
        ({"labels": ["a", "b"], "template": "{{ txt }} {{ label }}"}, DataError, "txt"), ({"labels": ["a", "b"], "template": "{{ text "}, UsageError, "line 1"),
    ):
        with pytest.raises(kind, match=why):
            model.predict({"text": "t", **fields})
