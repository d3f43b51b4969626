"""A small classifier of quality, learned from two sets of examples: what is wished for, and what is not.

p(good | x) = σ(w·φ(x) + b), with φ(x) the square roots of the counts of hashed words and pairs of words, brought to length 1. Words are those of
`measures` in small letters, so for Chinese they are characters and pairs of characters. w is learned by AdaGrad (Duchi et al. 2011, JMLR 12), one
example at a time, for a few passes in a seeded order: the same examples give the same numbers.
"""

from __future__ import annotations

import functools
import glob
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator

from ftheta.core import tensors
from ftheta.core.atomic import Attempt
from ftheta.core.errors import DataError
from ftheta.core.log import logger
from ftheta.data.catalogue import place_of
from ftheta.data.clean.measures import Measures
from ftheta.data.clean.rules import Rule, Verdict
from ftheta.data.documents import Document
from ftheta.data.rows import ENDINGS, read_rows, readable
from ftheta.data.stages import digest, home, stage

BITS = 18
"""Of the hash that says which weight a word or pair has."""
SPREAD = np.uint64(0x9E3779B97F4A7C15)
PIECE = 2000
"""Characters of an example at most: longer texts are cut, at an empty line where there is one."""
HELD_OUT = 0.2
FEWEST = 20
"""Examples each side must have."""


class Features(NamedTuple):
    """What a text is to the classifier: which weights, and by how much."""

    places: np.ndarray
    values: np.ndarray


def features(text: str, sizes: Sequence[int]) -> Features:
    measures = Measures(text.lower())
    hashes = np.concatenate([measures.gram_hashes(size) for size in sizes])
    places, counts = np.unique((hashes * SPREAD) >> np.uint64(64 - BITS), return_counts=True)
    values = np.sqrt(counts.astype(np.float64))
    return Features(places.astype(np.int64), values / max(1e-12, float(np.sqrt(counts.sum()))))


class QualityModel(NamedTuple):
    """The learned weights, and what is known of them."""

    weights: np.ndarray
    bias: float
    sizes: tuple[int, ...]
    report: dict[str, Any]
    """Examples of each side, and on those held out: `auc`, with its interval `low` to `high`, and `accuracy` at 0.5."""

    def score(self, text: str) -> float:
        """The probability that this text is of the good sort."""
        found = features(text, self.sizes)
        return sigmoid(float(self.weights[found.places] @ found.values) + self.bias)

    def write(self, attempt: Attempt) -> None:
        attempt.write("model.safetensors", *tensors.pieces({"weights": torch.from_numpy(self.weights), "bias": torch.tensor([self.bias], dtype=torch.float64)}))
        attempt.write_json("model.json", {"sizes": list(self.sizes), "report": self.report})


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


@functools.lru_cache(8)
def read_quality(folder: Path) -> QualityModel:
    """A model from its folder. Raises DataError naming what is missing or damaged."""
    try:
        known = json.loads((folder / "model.json").read_text())
        values = tensors.read(folder / "model.safetensors")
        weights, bias = values["weights"].numpy(), float(values["bias"])
        if weights.shape != (1 << BITS,):
            raise ValueError(f"{weights.shape} weights, expected {1 << BITS:,}")
        return QualityModel(weights, bias, tuple(known["sizes"]), known["report"])
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"data.clean.classifier.model: {folder} holds no quality model ({error}); give a folder that train_quality made") from None


# learning


def train_quality(good: Sequence[str], bad: Sequence[str], *, sizes: Sequence[int] = (1, 2), passes: int = 5, rate: float = 0.5, seed: int = 0) -> QualityModel:
    """Learn from two sets of texts; a fifth of each, chosen by their content, is held out and measured on. Raises DataError for too few."""
    sides = [dict.fromkeys(piece for text in texts for piece in cut(text)) for texts in (good, bad)]
    both = sides[0].keys() & sides[1].keys()
    examples = [(piece, label) for label, side in ((1, sides[0]), (0, sides[1])) for piece in side if piece not in both]
    held = [int(digest(piece.encode("utf-8", "surrogatepass"))[:8], 16) < HELD_OUT * 2**32 for piece, _ in examples]
    for label, name in ((1, "good"), (0, "bad")):
        have = [sum(inside == test for inside, (_, found) in zip(held, examples, strict=True) if found == label) for test in (False, True)]
        if min(have[0], have[1] * 4) < FEWEST:
            raise DataError(f"data.clean.classifier.{name}: {sum(have)} examples that are not on the other side too, expected {2 * FEWEST} at least")
    rows = [(features(piece, sizes), label) for piece, label in examples]
    learned = [row for row, test in zip(rows, held, strict=True) if not test]
    weights, squares, bias, bias_square = np.zeros(1 << BITS), np.full(1 << BITS, 1e-8), 0.0, 1e-8
    draws = np.random.default_rng(seed)
    balance = {label: len(learned) / 2 / sum(found == label for _, found in learned) for label in (0, 1)}
    for _ in range(passes):
        for i in draws.permutation(len(learned)):
            (places, values), label = learned[i]
            error = (sigmoid(float(weights[places] @ values) + bias) - label) * balance[label]
            slope = error * values
            squares[places] += slope * slope
            weights[places] -= rate * slope / np.sqrt(squares[places])
            bias_square += error * error
            bias -= rate * error / math.sqrt(bias_square)
    model = QualityModel(weights.astype(np.float32), bias, tuple(sizes), {})
    tested = [(sigmoid(float(model.weights[row.places] @ row.values) + bias), label) for (row, label), test in zip(rows, held, strict=True) if test]
    scores = [[score for score, label in tested if label == side] for side in (1, 0)]
    area = auc(*scores)
    low, high = auc_interval(area, len(scores[0]), len(scores[1]))
    right = sum(score >= 0.5 for score in scores[0]) + sum(score < 0.5 for score in scores[1])
    counts = {name: {"learned": sum(found == label for _, found in learned), "held_out": len(scores[1 - label])} for label, name in ((1, "good"), (0, "bad"))}
    figures = {"auc": area, "low": low, "high": high, "accuracy": right / sum(map(len, scores))}
    return model._replace(report={**counts, **{name: round(value, 6) for name, value in figures.items()}})


def cut(text: str) -> Iterator[str]:
    """Pieces of at most PIECE characters, none of them blank."""
    while text.strip():
        end = len(text) if len(text) <= PIECE else max(text.rfind("\n\n", PIECE // 2, PIECE), 0) or PIECE
        if text[:end].strip():
            yield text[:end].strip()
        text = text[end:]


def auc(good: Sequence[float], bad: Sequence[float]) -> float:
    """The share of pairs in which the good one has the higher score; equal scores count half (Mann and Whitney 1947)."""
    ordered = np.sort(np.array(bad))
    below, up_to = np.searchsorted(ordered, good, "left"), np.searchsorted(ordered, good, "right")
    return float((below + up_to).sum() / 2 / len(good) / len(bad))


def auc_interval(area: float, good: int, bad: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of an AUC: the θ with |area - θ| ≤ z·√V(θ), V of Hanley and McNeil; it has a width at 1, too.

    Newcombe 2006, Statistics in Medicine 25(4), method 5.
    """
    size = (good + bad) / 2 - 1

    def distance(theta: float) -> float:
        variance = theta * (1 - theta) * (1 + size * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / good / bad
        return abs(area - theta) - z * math.sqrt(max(0.0, variance))

    def border(outer: float) -> float:
        inner = area
        for _ in range(60):
            middle = (outer + inner) / 2
            outer, inner = (middle, inner) if distance(middle) > 0 else (outer, middle)
        return inner

    return border(0.0), border(1.0)


# the rule


def texts_of(path: str, field: str) -> list[str]:
    """The texts of a file, or of all that a pattern means: rows of .jsonl, .csv and .tsv, anything else whole. Raises DataError when there is none."""
    place = str(place_of(path))
    found_places = sorted(glob.glob(place, recursive=True)) if glob.has_magic(place) and not Path(place).exists() else [place]
    files = [file for file in map(Path, found_places) if file.is_file()]
    if not files:
        raise DataError(f"data.clean.classifier: nothing matches {path}, which `good` or `bad` names")
    found = []
    for file in files:
        if Path(file.name.removesuffix(".gz")).suffix in ENDINGS:
            found += [row.text("data.clean.classifier.field", field) for row in read_rows(file)]
        else:
            with readable(file) as opened:
                found.append(opened.read())
    return found


class Classifier(Rule):
    """Drop documents that a small classifier finds more like the bad examples than like the good ones (fact `quality`, 0 to 1).

    It is learned when first needed, measured on examples held out, and kept under the hash of the examples; or it is given.
    """

    kind: Literal["classifier"] = "classifier"
    good: tuple[str, ...] = ()
    """Files (or patterns) of texts that are wished for: rows of .jsonl, .csv or .tsv, others whole, in pieces of 2,000 characters."""
    bad: tuple[str, ...] = ()
    """Files of texts that are not."""
    field: str = "text"
    """Which field of a row holds the text."""
    model: str | None = None
    """A folder with a classifier that was learned before, instead of examples."""
    least: float = Field(default=0.5, ge=0, le=1)
    """The probability of being good that a document must have."""
    sizes: tuple[int, ...] = Field(default=(1, 2), min_length=1)
    """How many words, one behind the other, are looked at together."""
    passes: int = Field(default=5, gt=0)
    """How often all examples are gone through."""
    seed: int = 0
    """Of the order they come in."""

    @model_validator(mode="after")
    def one_origin(self) -> Classifier:
        if (self.model is None) != bool(self.good and self.bad) or (self.model and (self.good or self.bad)):
            raise ValueError("expected either 'good' and 'bad' examples or a 'model'")
        if min(self.sizes) < 1:
            raise ValueError(f"sizes: expected numbers of words, got {min(self.sizes)}")
        return self

    @functools.cached_property
    def learned(self) -> QualityModel:
        return read_quality(Path(self.model).expanduser() if self.model else self.folder())

    def folder(self) -> Path:
        """Where the classifier stands, learned if it is not there yet."""
        good, bad = ([text for path in paths for text in texts_of(path, self.field)] for paths in (self.good, self.bad))
        how = {"sizes": list(self.sizes), "passes": self.passes, "seed": self.seed}

        def build(attempt: Attempt) -> None:
            made = train_quality(good, bad, sizes=self.sizes, passes=self.passes, seed=self.seed)
            logger.info("quality classifier: AUC %.3f (%.3f to %.3f) on examples held out", *(made.report[name] for name in ("auc", "low", "high")))
            made.write(attempt)

        return stage(home() / "stages", "quality", {"good": digest(good), "bad": digest(bad), **how}, build)

    def learned_beforehand(self) -> tuple[str, dict[str, Any]]:
        report = self.learned.report
        return digest([report, digest(self.learned.weights.tobytes())]), report

    def apply(self, document: Document) -> Verdict:
        score = self.learned.score(document.text)
        facts = {"quality": round(score, 4)}
        if score < self.least:
            return Verdict(None, "classifier", {**facts, "why": f"quality {score:.3f} < {self.least:g}"})
        return Verdict(document.text, facts=facts)
