"""Learning from single answers that were found good or bad (KTO: Ethayarajh et al. 2024, arXiv:2402.01306).

With Δ = log π(y|x) - log π_start(y|x) of a row's answer, and z₀ = max(0, mean over the step of Δ of answers that belong to other questions), an
estimate of KL(π, π_start) through which no gradient goes:

    good  λ_D (1 - σ(β (Δ - z₀)))          bad  λ_U (1 - σ(β (z₀ - Δ)))

z₀ couples the rows of a step: a micro-batch's own z₀ would make another loss. So the step is one loss (`count=None`), and the trainer refuses to divide it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run
from ftheta.objectives.preference import log_probabilities

ANSWERS = ("answer", "other")


class KTO(Objective):
    """Make good answers likelier than the start finds them, and bad ones less likely."""

    lookahead: ClassVar[int] = 1
    kind: Literal["kto"] = "kto"
    beta: float = Field(default=0.1, gt=0)
    """How strongly: β."""
    desirable: float = Field(default=1.0, ge=0)
    """Weight of good answers, λ_D; the paper wants λ_D · good between 1 and 4/3 of λ_U · bad, by how many there are of each."""
    undesirable: float = Field(default=1.0, ge=0)
    """Weight of bad answers, λ_U."""

    @property
    def compares(self) -> bool:
        return True

    def needs(self) -> Needs:
        reads = dict.fromkeys(ANSWERS, "ids B T") | {f"{name}_learned": "mask B T" for name in ANSWERS}
        return Needs(
            reads={**reads, "good": "mask B"}, feeds={"tokens": "ids B T"}, wants={"hidden": "real B T D", "logits": "logits B T V"},
            traits={"causal": "the model looks at both sides of a token, so the log-probability of an answer means nothing; choose a decoder",
                    "gradients": NO_GRADIENTS},
        )

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        own = log_probabilities(model, run, batch, ANSWERS[:1])[0][0]
        with torch.no_grad():
            other = log_probabilities(model, run, batch, ANSWERS[1:])[0][0]
            far = (other - batch["reference_other"].to(other)).mean().clamp_min(0)
        gain, good = own - batch["reference_answer"].to(own), batch["good"]
        each = torch.where(good, self.desirable * torch.sigmoid(self.beta * (far - gain)), self.undesirable * torch.sigmoid(self.beta * (gain - far)))
        with torch.no_grad():
            reward, count = self.beta * gain, good.sum()
            metrics = {
                "kl": (far, 1), "good_reward": (reward[good].sum(), count), "bad_reward": (reward[~good].sum(), len(good) - count),
            }
        return Loss(each.mean(), None, metrics)                                               # type: ignore[arg-type]

    def reference(self, model: nn.Module, run: Run, batch: Batch) -> Batch:
        with torch.no_grad():
            sums = log_probabilities(model, run, batch, ANSWERS)[0]
        return {f"reference_{name}": sums[i] for i, name in enumerate(ANSWERS)}

    def tasks(self) -> dict[str, str]:
        return {"tokens": "text-generation"}
