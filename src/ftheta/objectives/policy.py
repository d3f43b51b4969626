"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347).

With the ratio r = π(a|s) / π_old(a|s) and the advantage A of a, for one transition
    loss = -min(r A, clip(r, 1-ε, 1+ε) A) + c_v (V(s) - return)² - c_e H[π(·|s)]
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run


class PPO(Objective):
    """Make actions that turned out better than expected likelier, but stay near the policy that took them."""

    kind: Literal["ppo"] = "ppo"
    clip: float = Field(default=0.2, gt=0)
    """How far the probability ratio may usefully move from 1, ε."""
    value: float = Field(default=0.5, ge=0)
    """Weight of the squared error of the value function, c_v."""
    entropy: float = Field(default=0.0, ge=0)
    """Weight of the policy's entropy, c_e: more keeps it exploring."""

    def needs(self) -> Needs:
        return Needs(
            reads={"observation": "observation B *", "action": "action B", "log_probability": "real B", "advantage": "real B", "return": "real B"},
            wants={"logits": "logits B A", "value": "value B"},
            traits={"gradients": NO_GRADIENTS},
        )

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        outputs = run(batch)
        policy, value = outputs["logits"].float().log_softmax(-1), outputs["value"].float()
        log_ratio = policy.gather(-1, batch["action"][:, None])[:, 0] - batch["log_probability"]
        ratio, advantage = log_ratio.exp(), batch["advantage"]

        gain = surrogate(ratio, advantage, self.clip, self.clip).sum()
        value_loss = (value - batch["return"]).square().sum()
        entropy = -(policy.exp() * policy).sum()

        count = len(advantage)
        with torch.no_grad():
            moved = divergence(log_ratio).sum()
            clipped = ((ratio - 1).abs() > self.clip).sum()
        return Loss(
            -gain + self.value * value_loss - self.entropy * entropy, count,
            {"kl": (moved, count), "clipped": (clipped, count), "entropy": (entropy.detach(), count), "value_loss": (value_loss.detach(), count)},
        )

    def tasks(self) -> dict[str, str]:
        return {"observation": "reinforcement-learning"}


def surrogate(ratio: Tensor, advantage: Tensor, below: float, above: float) -> Tensor:
    """min(r A, clip(r, 1-below, 1+above) A), of which more is better."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - below, 1 + above) * advantage)


def divergence(log_ratio: Tensor) -> Tensor:
    """r - 1 - log r, whose mean under p is KL(p, q) when r = q/p, and which is never negative (k3: Schulman 2020, joschu.net/blog/kl-approx.html)."""
    return log_ratio.exp() - 1 - log_ratio
