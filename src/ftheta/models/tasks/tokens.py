"""Tasks that point into a text: name the words that name something, find the answer to a question."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from tokenizers import Encoding
from torch import Tensor

from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.models.tasks.reading import ReadingTask

OUTSIDE = "O"
"""The tag of words that name nothing."""
STRIDE = 128
"""Tokens that neighbouring windows of a long text share."""


class Passage(Config):
    """A text to be looked through."""

    text: str
    """The text."""


class Entity(Config):
    """Some words of the text and what they are."""

    label: str
    """What they are."""
    text: str
    """The words."""
    start: int
    """Where they begin, in characters."""
    end: int
    """Where they end."""
    probability: float
    """That of the label, the mean over the words."""


class Entities(Config):
    """What was found."""

    entities: list[Entity]
    """In the order of the text."""


class TokenClassification(ReadingTask[Passage, Entities]):
    """Find the words of a text that are something, such as names: a word has the tag of its first token, B- and I- tags are joined."""

    name = "token-classification"
    input = Passage
    output = Entities

    def run(self, inputs: Sequence[Passage]) -> list[Entities]:
        places = [self.processor.words(item.text) if self.processor.by_words else None for item in inputs]
        encodings = [
            self.frame([(item.text, None)])[0] if words is None else self.processor.frame_words([item.text[a:b] for a, b in words], self.longest)
            for item, words in zip(inputs, places, strict=True)
        ]
        found = [given["logits"] for given in self.outputs(encodings)]
        return [Entities(entities=self.entities(item.text, e, given, words)) for item, e, given, words in zip(inputs, encodings, found, places, strict=True)]

    def entities(self, text: str, encoding: Encoding, logits: Tensor, places: Sequence[tuple[int, int]] | None = None) -> list[Entity]:
        """Joined words of a text from logits (T, K) of its tokens; `places` says where words stand that were cut before."""
        best = logits.double().softmax(-1).max(-1)
        groups: list[tuple[str, int, int, list[float]]] = []
        joins, last = False, None
        for t, word in enumerate(encoding.word_ids):
            if word is None:
                joins, last = False, None
                continue
            start, end = encoding.offsets[t] if places is None else places[word]
            if word == last:                                                              # a later piece of the same word
                if joins:
                    name, begin, _, shares = groups[-1]
                    groups[-1] = (name, begin, end, shares)
                continue
            tag, share = self.processor.label(int(best.indices[t])), float(best.values[t])
            name = tag[2:] if tag[:2] in ("B-", "I-") else tag
            if tag.startswith("I-") and joins and groups[-1][0] == name:
                groups[-1] = (name, groups[-1][1], end, [*groups[-1][3], share])
            elif tag != OUTSIDE:
                groups.append((name, start, end, [share]))
            joins, last = tag != OUTSIDE, word
        return [Entity(label=n, text=text[a:b], start=a, end=b, probability=round(sum(p) / len(p), 6)) for n, a, b, p in groups]

    def show(self, output: Entities) -> str:
        return "\n".join(f"{entity.label}: {entity.text}  ({entity.probability:.1%})" for entity in output.entities)


class Question(Config):
    """A question and a text that answers it."""

    question: str
    """What to find."""
    context: str
    """Where to look."""
    most: int = Field(default=30, gt=0)
    """Tokens the answer may have."""


class Answer(Config):
    """A stretch of the text."""

    answer: str
    """The words of the text."""
    start: int
    """Where they begin, in characters."""
    end: int
    """Where they end."""
    probability: float
    """That the answer begins and ends there, among all places in the part of the text looked at."""


class QuestionAnswering(ReadingTask[Question, Answer]):
    """Find the words of a text that answer a question; long texts are looked at in overlapping parts."""

    name = "question-answering"
    input = Question
    output = Answer

    def run(self, inputs: Sequence[Question]) -> list[Answer]:
        parts = [self.processor.windows(item.question, item.context, self.longest, STRIDE) for item in inputs]
        found = iter(self.outputs([encoding for windows in parts for encoding in windows]))
        answers = []
        for i, (item, windows) in enumerate(zip(inputs, parts, strict=True)):
            choices = [self.best(encoding, next(found)["span"], item.most) for encoding in windows]
            share, start, end = max(choices)
            if start == end:
                raise UsageError(f"question {i}: context: there is nothing in it to point at")
            answers.append(Answer(answer=item.context[start:end], start=start, end=end, probability=round(share, 6)))
        return answers

    def best(self, encoding: Encoding, span: Tensor, most: int) -> tuple[float, int, int]:
        """The likeliest stretch of the second text by p(first) · p(last), with where it begins and ends in characters."""
        inside = torch.tensor([number == 1 for number in encoding.sequence_ids])
        if not inside.any():
            return 0.0, 0, 0
        first, last = span.double().masked_fill(~inside[:, None], float("-inf")).softmax(0).unbind(1)
        both = (first[:, None] * last[None, :]).triu().tril(most - 1)
        place = int(both.argmax())
        a, b = divmod(place, len(last))
        return float(both[a, b]), encoding.offsets[a][0], encoding.offsets[b][1]

    def show(self, output: Answer) -> str:
        return f"{output.answer}  ({output.probability:.1%})"
