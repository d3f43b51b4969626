"""Learning from pairs of answers of which one was preferred.

With c and r the log-probabilities of the chosen and the rejected answer (sums over their tokens; c̄ and r̄ means), and Δ = (c - c_ref) - (r - r_ref)
against the model that training started from:

    dpo    -log σ(β Δ)                                              Rafailov et al. 2023, arXiv:2305.18290
    ipo    (Δ̄ - 1 / 2β)², Δ̄ as Δ but of means                      Azar et al. 2023, arXiv:2310.12036
    simpo  -log σ(β (c̄ - r̄) - γ)                                   Meng et al. 2024, arXiv:2405.14734
    orpo   -c̄ - β log σ(logit p̄_c - logit p̄_r), p̄ = exp of mean    Hong et al. 2024, arXiv:2403.07691
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run

ANSWERS = ("chosen", "rejected")


class Preference(Objective):
    """Make preferred answers likelier than the others."""

    lookahead: ClassVar[int] = 1
    kind: Literal["preference"] = "preference"
    form: Literal["dpo", "ipo", "simpo", "orpo"] = "dpo"
    """Which loss; dpo and ipo compare with the model that training started from."""
    beta: float = Field(default=0.1, gt=0)
    """How strongly: β. (About 0.1 for dpo and orpo, 2 for simpo.)"""
    margin: float = Field(default=0.0, ge=0)
    """By how much the chosen answer should be ahead (simpo's γ)."""
    smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the labels taken to be wrong (dpo)."""

    @property
    def compares(self) -> bool:
        return self.form in ("dpo", "ipo")

    def needs(self) -> Needs:
        reads = dict.fromkeys(ANSWERS, "ids B T") | {f"{name}_learned": "mask B T" for name in ANSWERS}
        return Needs(
            reads=reads, feeds={"tokens": "ids B T"}, wants={"hidden": "real B T D", "logits": "logits B T V"},
            traits={"causal": "the model looks at both sides of a token, so the log-probability of an answer means nothing; choose a decoder",
                    "gradients": NO_GRADIENTS},
        )

    def learned(self, batch: Batch) -> dict[str, Tensor]:
        return {name: batch[f"{name}_learned"] for name in ANSWERS}

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        sums, means = log_probabilities(model, run, batch, ANSWERS)
        c, r = (means if self.form != "dpo" else sums).unbind()
        gain_c, gain_r = c, r
        if self.compares:
            kind = "" if self.form == "dpo" else "mean_"
            gain_c, gain_r = c - batch[f"reference_{kind}chosen"].to(c), r - batch[f"reference_{kind}rejected"].to(r)
        ahead = gain_c - gain_r
        if self.form == "dpo":
            each = -(1 - self.smoothing) * F.logsigmoid(self.beta * ahead) - self.smoothing * F.logsigmoid(-self.beta * ahead)
        elif self.form == "ipo":
            each = (ahead - 1 / (2 * self.beta)).square()
        elif self.form == "simpo":
            each = -F.logsigmoid(self.beta * ahead - self.margin)
        else:
            odds = (c - torch.log1p(-c.exp())) - (r - torch.log1p(-r.exp()))
            each = -c - self.beta * F.logsigmoid(odds)
        count = len(each)
        with torch.no_grad():
            metrics = {
                "preferred": (float((ahead > 0).sum()), count), "reward_margin": (float(self.beta * ahead.sum()), count),
                "chosen_reward": (float(self.beta * gain_c.sum()), count), "rejected_reward": (float(self.beta * gain_r.sum()), count),
            }
        return Loss(each.sum(), count, metrics)                                               # type: ignore[arg-type]

    def reference(self, model: nn.Module, run: Run, batch: Batch) -> Batch:
        with torch.no_grad():
            sums, means = log_probabilities(model, run, batch, ANSWERS)
        return {f"reference_{kind}{name}": values[i] for kind, values in (("", sums), ("mean_", means)) for i, name in enumerate(ANSWERS)}

    def tasks(self) -> dict[str, str]:
        return {"tokens": "text-generation"}


def log_probabilities(model: nn.Module, run: Run, batch: Batch, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Sums and means (names, B) of the log-probabilities of the learned tokens, of the answers that are called so."""
    tokens = torch.cat([batch[name] for name in names])                                       # (names · B, T)
    asked = torch.cat([batch[f"{name}_learned"] for name in names])[:, 1:]
    hidden = run({"tokens": tokens[:, :-1]})["hidden"]
    each = model.head.log_probabilities(hidden[asked], tokens[:, 1:][asked])                  # type: ignore[operator, union-attr]
    row = torch.arange(len(tokens), device=tokens.device)[:, None].expand_as(asked)[asked]
    sums = each.new_zeros(len(tokens)).index_add(0, row, each)
    return sums.view(len(names), -1), (sums / asked.sum(1).clamp_min(1)).view(len(names), -1)
