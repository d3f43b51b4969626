"""Whether the vectors of pairs of texts find each other: a text its partner among all others."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.architectures.architecture import call
from ftheta.core.contract import PADDING
from ftheta.core.errors import UsageError
from ftheta.data.source import Dataset
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import mean, proportion
from ftheta.models.model import Model

SIDES = ("first", "second")
TEXTS = {name: "ids B T" for side in SIDES for name in (side, f"{side}_documents")}


class Retrieval(Metric):
    """For every first text the place of its second among the seconds of all pairs, by the cosine: the share found among the first k (recall@k), and
    the mean reciprocal rank. Texts that are equal count as one; of those equally near, the right one comes last, so that equal vectors earn nothing."""

    kind: Literal["retrieval"] = "retrieval"
    places: tuple[int, ...] = Field(default=(1, 10), min_length=1)
    """Each k of recall@k."""
    least: float | None = None
    """Only pairs with this score or more ask; all seconds can be found. None: all pairs ask."""
    batch: int = Field(default=64, gt=0)
    """Pairs looked at together; changes nothing but speed."""

    def needs(self) -> dict[str, str]:
        return {"embedding": "real B D"}

    def reads(self) -> dict[str, str]:
        return {**TEXTS, **({} if self.least is None else {"score": "real B"})}

    def measure(self, subject: Subject) -> Result:
        dataset = split_of(subject, self.name)
        first, second = vectors(subject.model, dataset, self.batch)
        asking = torch.arange(len(dataset)) if self.least is None else (scores(dataset) >= self.least).nonzero().flatten()
        if not len(asking):
            raise UsageError(f"retrieval: no pair of the test split has a score of {self.least} or more: lower evaluate.retrieval.least")
        group = groups(dataset)
        candidates = torch.tensor([int((group == number).nonzero()[0]) for number in range(int(group.max()) + 1)])
        cosine = first[asking] @ second[candidates].t()                                   # (queries, texts)
        right = group[asking]
        own = cosine.gather(1, right[:, None])
        rank = (cosine >= own).sum(1).numpy()                                             # itself included
        measurements = []
        for k in self.places:
            hits = rank <= k
            found = proportion(int(hits.sum()), len(hits))
            measurements.append(Measurement(
                f"recall@{k}", found.value, found.low, found.high, len(hits), "pair", "higher", found.method, subject.seed, {"value": hits.astype(float)},
            ))
        found = mean(1 / rank, subject.seed)
        last = Measurement("mean reciprocal rank", found.value, found.low, found.high, len(rank), "pair", "higher", found.method, subject.seed, {"value": 1 / rank})
        return Result([*measurements, last])


@torch.no_grad()
def vectors(model: Model, dataset: Dataset, batch: int) -> tuple[Tensor, Tensor]:
    """The vectors (N, D) of length 1 of all first and all second texts, float64. Texts of one length are read together: little is padded."""
    model.architecture.eval()
    examples = dataset.batch(torch.arange(len(dataset)))
    found = []
    for side in SIDES:
        tokens, documents = examples[side], examples[f"{side}_documents"]
        lengths = (documents != PADDING).sum(1)                                            # padding stands on the right
        order, parts = lengths.argsort(stable=True), []
        for rows in order.split(batch):
            width = int(lengths[rows].max())
            given = call(model.architecture, {"tokens": tokens[rows, :width], "documents": documents[rows, :width]})
            parts.append(F.normalize(given["embedding"].double(), dim=-1))
        found.append(torch.cat(parts)[order.argsort()])
    return found[0], found[1]


def scores(dataset: Dataset) -> Tensor:
    """The scores (N,) of all pairs, float64."""
    return dataset.batch(torch.arange(len(dataset)))["score"].double()


def groups(dataset: Dataset) -> Tensor:
    """The number (N,) of each second text, equal texts having the same, numbered as they first appear."""
    batch = dataset.batch(torch.arange(len(dataset)))
    numbers: dict[tuple[int, ...], int] = {}
    texts = [tuple(ids[real != PADDING].tolist()) for ids, real in zip(batch["second"], batch["second_documents"], strict=True)]
    return torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts])
