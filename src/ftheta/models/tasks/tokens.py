"""Finding the words of a text that are something, such as names."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Encoding
from torch import Tensor

from ftheta.core.config import Config
from ftheta.models.tasks.reading import ReadingTask

OUTSIDE = "O"
"""The tag of words that name nothing."""


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
