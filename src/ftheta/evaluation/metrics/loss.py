"""The objective's own loss on the test split."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from ftheta.architectures.architecture import Outputs, call
from ftheta.core.config import Slot
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError, Problem
from ftheta.core.random import Draws
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import ratio
from ftheta.objectives import OBJECTIVES
from ftheta.objectives.objective import Coupled, Objective


class MeanLoss(Metric):
    """Mean loss per counted item (token, example), over all rows of the test split."""

    kind: Literal["loss"] = "loss"
    objective: Annotated[Objective, Slot(OBJECTIVES)]
    """Whose loss."""
    rows: int = Field(default=512, gt=0)
    """At most this many rows of the split."""

    @model_validator(mode="after")
    def adds_up(self) -> MeanLoss:
        if isinstance(self.objective, Coupled) and self.objective.couples:
            raise ConfigError([Problem(("objective",), f"'{self.objective.name}' compares the rows of a batch, so a row by itself has no loss; choose another metric")])
        if self.objective.companion is not None:
            raise ConfigError([Problem(("objective",), f"'{self.objective.name}' measures against another model; choose what is learned from it, such as 'next_token'")])
        return self

    def objectives(self) -> tuple[Objective, ...]:
        return (self.objective,)

    @torch.no_grad()
    def measure(self, subject: Subject) -> Result:
        dataset, model = split_of(subject, "loss"), subject.model.architecture.eval()
        objective = self.objective.with_tokens(subject.model.processor)

        def run(batch: Batch, **more: Tensor) -> Outputs:
            return call(model, batch, **more)

        totals, counts = [], []
        for row in range(min(self.rows, len(dataset))):
            rows = torch.tensor([row])
            batch = objective.prepare(dataset.batch(rows), Draws(torch.tensor([0]), 1, subject.seed, "evaluate", row))
            loss = objective.loss(model, run, batch, objective.phases()[-1])
            totals.append(float(loss.total))
            counts.append(float(1 if loss.count is None else loss.count))
        sums = {"numerator": np.array(totals), "denominator": np.array(counts)}
        found = ratio(sums["numerator"], sums["denominator"], subject.seed)
        return Result([
            Measurement(f"{self.objective.name} loss", found.value, found.low, found.high, len(totals), "row", "lower", found.method, subject.seed, sums)
        ])
