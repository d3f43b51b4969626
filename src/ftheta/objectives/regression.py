"""Squared error of numbers, (ŷ - y)², over texts or pairs of texts."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run


class Regression(Objective):
    """Which number each example has."""

    kind: Literal["regression"] = "regression"

    def needs(self) -> Needs:
        return Needs(reads={"target": "real B"}, wants={"value": "real B"}, traits={"gradients": NO_GRADIENTS})

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        value = run(batch)["value"].float()
        return Loss(((value - batch["target"].float()) ** 2).sum(), len(value))

    def tasks(self) -> dict[str, str]:
        return {"tokens": "text-ranking"}
