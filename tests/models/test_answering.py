"""Answers to questions: the best stretches of all windows, none where every window says so; sought in another way by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ftheta.architectures.headed import HeadedConfig
from ftheta.evaluation.probes.small import scatter
from ftheta.models.model import Model
from ftheta.models.tasks.questions import Question, QuestionAnswering, stretches, trimmed
from wordpiece import VOCAB, bert_processor

TRUNK = {"kind": "encoder", "vocab": VOCAB, "dim": 24, "depth": 2, "context": 32, "segments": 2, "mixer": {"kind": "attention", "heads": 3, "causal": False}}
CONTEXT = "the cat sat. the dog ran. " * 12


def task() -> QuestionAnswering:
    architecture = HeadedConfig.parse({"kind": "headed", "trunk": TRUNK, "readout": "span"}).build()
    architecture.initialise(0)
    found = Model(scatter(architecture, 0, 0.3), bert_processor(), "question-answering").task
    assert isinstance(found, QuestionAnswering)
    return found


def naive(encodings: list[Any], spans: list[Tensor], most: int) -> list[tuple[float, int, int]]:
    """Every stretch of every window, best first, each place once."""
    found: dict[tuple[int, int], float] = {}
    for encoding, span in zip(encodings, spans, strict=True):
        inside = [t for t, number in enumerate(encoding.sequence_ids) if number == 1]
        for i, a in enumerate(inside):
            for b in inside[i : i + most]:
                place, score = (encoding.offsets[a][0], encoding.offsets[b][1]), float(span[a, 0] + span[b, 1])
                found[place] = max(score, found.get(place, -math.inf))
    return sorted(((score, *place) for place, score in found.items()), reverse=True)


@pytest.mark.parametrize("most", [1, 2, 3, 50])
def test_the_best_of_one_window_is_the_best_of_all(most: int) -> None:
    encoding = bert_processor().frame("dog?", "the cat sat the dog", 32)
    span = torch.randn(len(encoding.ids), 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    inside = [t for t, number in enumerate(encoding.sequence_ids) if number == 1]
    first, last = span[inside].softmax(0).unbind(1)
    share, a, b = max((float(first[i] * last[j]), inside[i], inside[j]) for i in range(len(inside)) for j in range(i, min(i + most, len(inside))))
    (best,) = stretches(encoding, span, most, 1)
    assert best[1:] == (pytest.approx(share), encoding.offsets[a][0], encoding.offsets[b][1])
    assert [(s.score, s.start, s.end) for s in stretches(encoding, span, most, 99)] == [pytest.approx(one) for one in naive([encoding], [span], most)]


def test_windows_are_joined_and_each_place_is_given_once() -> None:
    answering = task()
    item = Question(question="the dog?", context=CONTEXT, most=3, stride=9, choices=40)
    windows = answering.processor.windows(item.question, item.context, 32, 9)
    spans = [given["span"].double() for given in answering.outputs(windows)]
    (answer,) = answering.run([item])
    expected = naive(windows, spans, 3)[:40]
    assert len(windows) > 3 and [(found.start, found.end) for found in (answer, *answer.others)] == [place[1:] for place in expected]
    assert all(found.answer == CONTEXT[found.start : found.end] for found in answer.others)


def test_there_is_no_answer_where_every_window_says_so() -> None:
    answering, item = task(), Question(question="dog?", context="the cat sat the dog", threshold=0.0, choices=2)
    windows = answering.processor.windows(item.question, item.context, 9, 2)
    assert len(windows) == 2
    spans = [torch.zeros(len(encoding.ids), 2, dtype=torch.float64) for encoding in windows]
    spans[0][0] = 3.0
    assert answering.answer(0, item, windows, spans).answer != ""                          # the second window does not say so: 0 is not more than 0
    spans[1][0] = 2.0
    none = answering.answer(0, item, windows, spans)
    assert (none.answer, none.start, none.end) == ("", 0, 0) and none.probability == pytest.approx(1 / (1 + math.exp(-4)), abs=1e-6)
    assert none.others[0].answer != "" and answering.show(none).startswith("(no answer)")
    assert answering.answer(0, item.replace(threshold=4.0), windows, spans).answer != ""
    assert answering.answer(0, item.replace(threshold=None), windows, spans).answer != ""


def test_spaces_at_the_ends_are_no_part_of_an_answer() -> None:
    assert trimmed("a  bc d", 1, 6) == (3, 5) and trimmed("a  b", 1, 3) == (3, 3)
