"""Tasks over whole texts: a class, a score, a vector, how alike texts are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch.nn import functional as F

from ftheta.core.config import Config
from ftheta.models.tasks.answers import Labelled, SeveralLabels, labelled, several_labels
from ftheta.models.tasks.reading import ReadingTask


class Text(Config):
    """A text, or a pair of texts."""

    text: str
    """The text."""
    second: str | None = None
    """The other text, for models that read pairs."""


class TextClassification(ReadingTask[Text, Labelled]):
    """Name the class of a text or of a pair of texts."""

    name = "text-classification"
    input = Text
    output = Labelled

    def run(self, inputs: Sequence[Text]) -> list[Labelled]:
        found = self.outputs(self.frame([(item.text, item.second) for item in inputs]))
        return labelled(torch.stack([given["logits"] for given in found]), self.processor) if found else []

    def show(self, output: Labelled) -> str:
        return output.line()


class TextOfSeveral(Text):
    """A text, or a pair of texts, and how likely a class must be."""

    least: float = Field(default=0.5, ge=0, le=1)
    """The lowest probability of a class that is named."""


class MultiLabelTextClassification(ReadingTask[TextOfSeveral, SeveralLabels]):
    """Name all the classes of a text or of a pair of texts."""

    name = "multi-label-text-classification"
    input = TextOfSeveral
    output = SeveralLabels

    def run(self, inputs: Sequence[TextOfSeveral]) -> list[SeveralLabels]:
        found = self.outputs(self.frame([(item.text, item.second) for item in inputs]))
        return several_labels(torch.stack([given["logits"] for given in found]), [item.least for item in inputs], self.processor) if found else []

    def show(self, output: SeveralLabels) -> str:
        return output.line()


class Score(Config):
    """A number for a text or a pair of texts."""

    score: float
    """In the units the model was trained on."""


class TextRanking(ReadingTask[Text, Score]):
    """Give a text or a pair of texts a number, such as how well a passage answers a question."""

    name = "text-ranking"
    input = Text
    output = Score

    def run(self, inputs: Sequence[Text]) -> list[Score]:
        return [Score(score=float(given["value"])) for given in self.outputs(self.frame([(item.text, item.second) for item in inputs]))]

    def show(self, output: Score) -> str:
        return f"{output.score:.6g}"


class Features(Config):
    """What a model makes of a text."""

    tokens: list[str]
    """The tokens it read, control tokens included."""
    features: list[list[float]]
    """One vector a token."""
    embedding: list[float] | None
    """One vector for the text, if the model gives one."""


class FeatureExtraction(ReadingTask[Text, Features]):
    """Turn a text into vectors."""

    name = "feature-extraction"
    input = Text
    output = Features

    def run(self, inputs: Sequence[Text]) -> list[Features]:
        encodings = self.frame([(item.text, item.second) for item in inputs])
        return [
            Features(tokens=encoding.tokens, features=given["hidden"].float().tolist(), embedding=given["embedding"].float().tolist() if "embedding" in given else None)
            for encoding, given in zip(encodings, self.outputs(encodings), strict=True)
        ]

    def show(self, output: Features) -> str:
        rows = [("(text)", output.embedding)] if output.embedding is not None else list(zip(output.tokens, output.features, strict=True))
        return "\n".join(f"{name}  " + " ".join(f"{value:.4f}" for value in row[:8]) + (" ..." if len(row) > 8 else "") for name, row in rows)


class Comparison(Config):
    """A text and others to compare it with."""

    source: str
    """The text."""
    sentences: list[str] = Field(min_length=1)
    """What it is compared with."""


class Similarities(Config):
    """How alike the texts are."""

    similarities: list[float]
    """The cosine of the angle between the text's vector and each other's, -1 to 1."""


class SentenceSimilarity(ReadingTask[Comparison, Similarities]):
    """Say how alike a text and others are."""

    name = "sentence-similarity"
    input = Comparison
    output = Similarities

    def run(self, inputs: Sequence[Comparison]) -> list[Similarities]:
        known = list(dict.fromkeys(text for item in inputs for text in (item.source, *item.sentences)))      # a text is read once, however often it is compared
        found = self.outputs(self.frame([(text, None) for text in known]))
        vectors = {text: F.normalize(given["embedding"].double(), dim=-1) for text, given in zip(known, found, strict=True)}
        return [Similarities(similarities=[round(float(vectors[item.source] @ vectors[text]), 6) for text in item.sentences]) for item in inputs]

    def show(self, output: Similarities) -> str:
        return "\n".join(f"{value:.4f}" for value in output.similarities)
