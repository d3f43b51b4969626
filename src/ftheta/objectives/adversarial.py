"""Two players: a discriminator that tells real pictures from generated ones, a generator that is told apart (Goodfellow et al. 2014).

With D the discriminator's log-odds of being real and G the generator, non-saturating logistic losses:

    discriminator: softplus(D(G(z), y)) + softplus(-D(x, y)) + γ/2 · |∇ₓ D(x, y)|²        generator: softplus(-D(G(z'), y))

The gradient penalty on real pictures (R1; Mescheder et al. 2018, arXiv:1801.04406) is what makes this converge. All of it is a sum
over rows that do not depend on each other, so micro-batches are exact.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.core.random import Draws
from ftheta.objectives.objective import Objective, Phase, Run

DISCRIMINATOR, GENERATOR = Phase("discriminator", "discriminator"), Phase("generator", "generator")


class Adversarial(Objective):
    """Generate pictures a discriminator takes for real ones of the class asked for."""

    kind: Literal["adversarial"] = "adversarial"
    noise: int = Field(default=64, gt=0)
    """Numbers of noise a picture is made from; the model's `noise` must be the same."""
    penalty: float = Field(default=1.0, ge=0)
    """γ, the weight of the gradient penalty; 0 leaves it out."""

    def needs(self) -> Needs:
        return Needs(
            reads={"image": "image B C H W", "label": "label B"}, feeds={"noise": "real B Z", "label": "label B"}, wants={"image": "image B C H W"},
            traits={"adversarial": "the model has no discriminator to play against; choose model 'gan'"},
        )

    def phases(self) -> tuple[Phase, ...]:
        return (DISCRIMINATOR, GENERATOR)

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        """Adds noise (B, Z) for each player."""
        return {**batch, **{f"{phase.name}_noise": draws.normal(self.noise) for phase in self.phases()}}

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        label = batch["label"]
        generated: Tensor = run(batch, noise=batch[f"{phase.name}_noise"])["image"]
        if phase.name == GENERATOR.name:
            score = model.judge(generated, label)                                         # type: ignore[operator]
            return Loss(F.softplus(-score).sum(), len(label), {"fooled": ((score.detach() > 0).sum(), len(label))})
        fake: Tensor = model.judge(generated.detach(), label)                             # type: ignore[operator]
        real, slope = self.judge_real(model, batch["image"], label)
        right = (real.detach() > 0).sum() + (fake.detach() < 0).sum()
        metrics: dict[str, tuple[Tensor | float, Tensor | float]] = {"accuracy": (right, 2 * len(label)), "slope": (slope.detach().sum(), len(label))}
        total = F.softplus(fake).sum() + F.softplus(-real).sum() + self.penalty / 2 * slope.sum()
        return Loss(total, len(label), metrics)

    def judge_real(self, model: nn.Module, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B,) of real pictures and the squared length (B,) of each score's gradient at its own picture."""
        if not self.penalty:
            score: Tensor = model.judge(image, label)                                     # type: ignore[operator]
            return score, torch.zeros_like(score)
        with torch.enable_grad():                                                         # validation runs without gradients
            image = image.detach().requires_grad_()
            score = model.judge(image, label)                                             # type: ignore[operator]
            (gradient,) = torch.autograd.grad(score.sum(), image, create_graph=True)
        return score, gradient.square().flatten(1).sum(1)

    def tasks(self) -> dict[str, str]:
        return {"noise": "unconditional-image-generation"}
