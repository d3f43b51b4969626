"""Answering questions by stretches of a text, as Devlin et al. 2018 (arXiv:1810.04805, section 4.3) do.

A stretch from token a to token b scores z_first(a) + z_last(b). Windows of a long text are joined by this score. That there is no answer
scores z_first + z_last of a window's first token, in the window where that is lowest: every window must say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from tokenizers import Encoding
from torch import Tensor

from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.models.tasks.reading import ReadingTask


class Question(Config):
    """A question and a text that answers it."""

    question: str
    """What to find."""
    context: str
    """Where to look."""
    most: int = Field(default=30, gt=0)
    """Tokens the answer may have."""
    stride: int = Field(default=128, ge=0)
    """Tokens that neighbouring windows of a long text share."""
    choices: int = Field(default=1, gt=0)
    """How many answers are given, best first."""
    threshold: float | None = None
    """How much more than the best stretch "no answer" must score to be the answer; none: there is always one."""


class Found(Config):
    """A stretch of the text."""

    answer: str
    """The words of the text; none of them when there is no answer."""
    start: int
    """Where they begin, in characters."""
    end: int
    """Where they end."""
    probability: float
    """That the answer begins and ends there, among all places in the part of the text looked at; of no answer, beside the best stretch."""


class Answer(Found):
    """The best stretch of the text, and the next best."""

    others: tuple[Found, ...]
    """As many more as were asked for, best first."""


class Stretch(NamedTuple):
    """A stretch of tokens of one window."""

    score: float
    probability: float
    start: int
    end: int


class QuestionAnswering(ReadingTask[Question, Answer]):
    """Find the words of a text that answer a question; long texts are looked at in overlapping parts."""

    name = "question-answering"
    input = Question
    output = Answer

    def run(self, inputs: Sequence[Question]) -> list[Answer]:
        parts = [self.processor.windows(item.question, item.context, self.longest, item.stride) for item in inputs]
        spans = iter([given["span"].double() for given in self.outputs([encoding for windows in parts for encoding in windows])])
        return [self.answer(i, item, windows, [next(spans) for _ in windows]) for i, (item, windows) in enumerate(zip(inputs, parts, strict=True))]

    def answer(self, place: int, item: Question, windows: Sequence[Encoding], spans: Sequence[Tensor]) -> Answer:
        """The answer from logits (T, 2) of every window. Raises UsageError when there is nothing to point at."""
        found: dict[tuple[int, int], Stretch] = {}
        for encoding, span in zip(windows, spans, strict=True):
            for stretch in stretches(encoding, span, item.most, item.choices):
                at = trimmed(item.context, stretch.start, stretch.end)
                if at not in found or found[at].score < stretch.score:                    # neighbouring windows see the same words
                    found[at] = stretch
        best = sorted(((stretch, at) for at, stretch in found.items() if at[0] < at[1]), reverse=True)[: item.choices]
        if not best:
            raise UsageError(f"question {place}: context: there is nothing in it to point at")
        answers = [Found(answer=item.context[a:b], start=a, end=b, probability=round(stretch.probability, 6)) for stretch, (a, b) in best]
        none = min(float(span[0].sum()) for span in spans)
        if item.threshold is not None and none - best[0][0].score > item.threshold:
            share = 1 / (1 + math.exp(best[0][0].score - none)) if best[0][0].score - none < 700 else 0.0
            answers = [Found(answer="", start=0, end=0, probability=round(share, 6)), *answers[: item.choices - 1]]
        return Answer(**answers[0].dump(), others=tuple(answers[1:]))

    def show(self, output: Answer) -> str:
        return "\n".join(f"{found.answer or '(no answer)'}  ({found.probability:.1%})" for found in (output, *output.others))


def stretches(encoding: Encoding, span: Tensor, most: int, count: int) -> list[Stretch]:
    """The best `count` stretches of the second text by z_first + z_last, at most `most` tokens long; span is (T, 2)."""
    inside = torch.tensor([number == 1 for number in encoding.sequence_ids])
    if not inside.any():
        return []
    first, last = span.masked_fill(~inside[:, None], -torch.inf).unbind(1)
    reach = min(most, len(last))
    scores = first[:, None] + torch.cat([last, last.new_full((reach - 1,), -torch.inf)]).unfold(0, reach, 1)      # (T, reach): from t, so many tokens on
    found = scores.flatten().topk(min(count, scores.numel()))
    certain = float(first.logsumexp(0) + last.logsumexp(0))
    best = []
    for score, place in zip(found.values.tolist(), found.indices.tolist(), strict=True):
        a, further = divmod(place, reach)
        if score > -math.inf:
            best.append(Stretch(score, math.exp(score - certain), encoding.offsets[a][0], encoding.offsets[a + further][1]))
    return best


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A stretch without the spaces at its ends, which belong to tokens of some tokenizers."""
    piece = text[start:end]
    begin = start + len(piece) - len(piece.lstrip())
    return begin, begin + len(piece.strip())
