"""The objective of models that find their parameters by their own algorithm (least squares, k-means, forests): nothing to add."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.objective import Objective, Phase, Run


class Fit(Objective):
    """Let the model fit itself to all training examples at once."""

    kind: Literal["fit"] = "fit"

    def needs(self) -> Needs:
        return Needs(traits={"closed_form": "the model learns by gradients and cannot fit itself; use an objective with a loss, such as 'classification' or 'next_token'"})

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        raise TypeError("'fit' has no loss to descend: the estimator fits itself")

    def tasks(self) -> dict[str, str]:
        return {"features": "tabular"}
