"""Finding the words of a text that are something, such as names, and saying what a marked word is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Encoding
from torch import Tensor

from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.models.tasks.answers import Labelled, labelled
from ftheta.models.tasks.reading import ReadingTask
from ftheta.models.tasks.task import I, O

OUTSIDE = "O"
"""The tag of words that name nothing."""
MARK = "▁"
"""What stands before and after the word that is asked about."""
Place = tuple[int, int]
"""Where something begins and ends, in characters."""


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


class MarkedPassage(Config):
    """A text and the word in it that is asked about."""

    text: str
    """The text, the word between two ▁."""


class WordTask(ReadingTask[I, O]):
    """Texts in, something about their words out."""

    def looked_at(self, texts: Sequence[str]) -> tuple[list[Encoding], list[list[Place]]]:
        """The texts' tokens and where the word of each stands, in characters: (0, 0) for the tokenizer's own tokens."""
        if not self.processor.by_words:
            encodings = self.frame([(text, None) for text in texts])
            return encodings, [[(0, 0) if word is None else place for word, place in zip(e.word_ids, e.offsets, strict=True)] for e in encodings]
        places = [self.processor.words(text) for text in texts]
        encodings = [self.processor.frame_words([text[a:b] for a, b in words], self.longest) for text, words in zip(texts, places, strict=True)]
        return encodings, [[(0, 0) if word is None else words[word] for word in e.word_ids] for e, words in zip(encodings, places, strict=True)]


class MarkedTokenClassification(WordTask[MarkedPassage, Labelled]):
    """Say what the word between two ▁ is, such as how it is read: the class of its first token."""

    name = "marked-token-classification"
    input = MarkedPassage
    output = Labelled

    def run(self, inputs: Sequence[MarkedPassage]) -> list[Labelled]:
        if not inputs:
            return []
        parts = [item.text.split(MARK) for item in inputs]
        for text, cut in zip(inputs, parts, strict=True):
            if len(cut) != 3 or not cut[1]:
                raise UsageError(f"text: put one {MARK} before and one after the word that is asked about, got {text.text[:60]!r}")
        encodings, places = self.looked_at(["".join(cut) for cut in parts])
        found = []
        for given, cut, words in zip(self.outputs(encodings), parts, places, strict=True):
            token = next((t for t, (start, end) in enumerate(words) if start <= len(cut[0]) < end), None)
            if token is None:
                raise UsageError(f"text: {cut[1]!r} stands beyond the {self.longest:,} tokens that are read")
            found.append(given["logits"][token])
        return labelled(torch.stack(found), self.processor)

    def show(self, output: Labelled) -> str:
        return output.line()


class TokenClassification(WordTask[Passage, Entities]):
    """Find the words of a text that are something, such as names: a word has the tag of its first token, B- and I- tags are joined."""

    name = "token-classification"
    input = Passage
    output = Entities

    def run(self, inputs: Sequence[Passage]) -> list[Entities]:
        encodings, places = self.looked_at([item.text for item in inputs])
        found = [given["logits"] for given in self.outputs(encodings)]
        return [Entities(entities=self.entities(item.text, e, given, words)) for item, e, given, words in zip(inputs, encodings, found, places, strict=True)]

    def entities(self, text: str, encoding: Encoding, logits: Tensor, places: Sequence[Place]) -> list[Entity]:
        """Joined words of a text from logits (T, K) of its tokens and the place of each."""
        best = logits.double().softmax(-1).max(-1)
        groups: list[tuple[str, int, int, list[float]]] = []
        joins, last = False, None
        for t, word in enumerate(encoding.word_ids):
            if word is None:
                joins, last = False, None
                continue
            start, end = places[t]
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
