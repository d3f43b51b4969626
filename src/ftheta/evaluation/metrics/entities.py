"""How well stretches of words are found: precision, recall and F1 over whole entities (Tjong Kim Sang & De Meulder 2003, CoNLL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ftheta.core.contract import UNTAGGED
from ftheta.evaluation.metrics.labels import run_all, split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import proportion, ratio


class Entities(Metric):
    """F1 = 2·right / (found + there are) over entities with the right type, begin and end, all sentences together."""

    kind: Literal["entities"] = "entities"
    batch: int = Field(default=64, gt=0)
    """Sentences looked at together; changes nothing but speed."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B T K"}

    def measure(self, subject: Subject) -> Result:
        names = subject.model.processor.dump().get("labels", [])
        right, found, there = [], [], []
        for examples, outputs in run_all(subject.model, split_of(subject, "entities"), self.batch):
            for guess, truth in zip(outputs["logits"].argmax(-1), examples["label"], strict=True):
                counted = truth != UNTAGGED
                guessed, real = (spans([names[i] for i in tags[counted].tolist()]) for tags in (guess, truth))
                right.append(len(guessed & real))
                found.append(len(guessed))
                there.append(len(real))
        counts = {name: np.array(values, dtype=float) for name, values in (("right", right), ("found", found), ("there", there))}
        measurements = []
        for name, above, below in (
            ("entity F1", 2 * counts["right"], counts["found"] + counts["there"]), ("entity precision", counts["right"], counts["found"]),
            ("entity recall", counts["right"], counts["there"]),
        ):
            if below.sum():
                got = ratio(above, below, subject.seed)
                if got.low == got.high:                                                       # all sentences right (or wrong): resampling shows no spread
                    got = proportion(round(above.sum()), round(below.sum()))
                values = {"numerator": above, "denominator": below}
                measurements.append(Measurement(name, got.value, got.low, got.high, len(above), "sentence", "higher", got.method, subject.seed, values))
        return Result(measurements)


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(type, first, past the last) of the entities in a row of tags: B- begins one, I- goes on or, after something else, begins one; S- and E- (BIOES) end it."""
    found: set[tuple[str, int, int]] = set()
    kind, start = "", 0
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-") if "-" in tag else ("O" if tag == "O" else "B", "", tag)
        goes_on = prefix in ("I", "E") and name == kind
        if kind and not goes_on:
            found.add((kind, start, i))
            kind = ""
        if prefix != "O" and not goes_on:
            kind, start = name, i
        if kind and prefix in ("E", "S"):
            found.add((kind, start, i + 1))
            kind = ""
    return found
