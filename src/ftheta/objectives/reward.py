"""A number for an answer, learned from which of two was preferred (Bradley & Terry 1952; Ouyang et al. 2022, arXiv:2203.02155).

With r the number a model gives to question and answer:   -log σ(r_chosen - r_rejected - margin) + centre · (r_chosen + r_rejected)²
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run
from ftheta.objectives.preference import ANSWERS


class BradleyTerry(Objective):
    """Give preferred answers a larger number than the others."""

    kind: Literal["reward"] = "reward"
    margin: float = Field(default=0.0, ge=0)
    """By how much the chosen answer should be ahead (Touvron et al. 2023, arXiv:2307.09288)."""
    centre: float = Field(default=0.0, ge=0)
    """How strongly the numbers are kept around 0, which differences alone do not (Eisenstein et al. 2023, arXiv:2312.09244)."""

    def needs(self) -> Needs:
        reads = dict.fromkeys(ANSWERS, "ids B T") | {f"{name}_documents": "ids B T" for name in ANSWERS}
        return Needs(
            reads=reads, feeds={"tokens": "ids B T", "documents": "ids B T"}, wants={"value": "real B"}, traits={"gradients": NO_GRADIENTS},
        )

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        tokens, documents = (torch.cat([batch[f"{name}{suffix}"] for name in ANSWERS]) for suffix in ("", "_documents"))
        chosen, rejected = run({"tokens": tokens, "documents": documents})["value"].float().view(2, -1)
        ahead, count = chosen - rejected, len(chosen)
        total = -F.logsigmoid(ahead - self.margin).sum() + self.centre * (chosen + rejected).square().sum()
        with torch.no_grad():
            metrics = {
                "preferred": (float((ahead > 0).sum()), count), "reward_margin": (float(ahead.sum()), count),
                "chosen_reward": (float(chosen.sum()), count), "rejected_reward": (float(rejected.sum()), count),
            }
        return Loss(total, count, metrics)                                                    # type: ignore[arg-type]

    def tasks(self) -> dict[str, str]:
        return {"tokens": "text-ranking"}
