"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum made orthogonal, for the matrices inside a model
(a convolution's kernels are the rows of one: (outputs, inputs · height · width)); embeddings, heads and vectors move by AdamW.

The polar factor U Vᵀ of the momentum is approached by five steps X ← aX + (bA + cA²)X, A = XXᵀ, with the coefficients of the
Polar Express (Amsel et al. 2025, arXiv:2505.16932).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ftheta.core import distributed
from ftheta.core.device import fast_bfloat16
from ftheta.training.optimizers.adamw import AdamW
from ftheta.training.optimizers.optimizer import Named, OptimizerConfig

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


class Muon(OptimizerConfig):
    """Muon for hidden matrices, AdamW for everything else."""

    kind: Literal["muon"] = "muon"
    rate: float = Field(default=0.02, gt=0)
    """Learning rate of hidden matrices and convolutions, weight decay included; an update of an (m, n) matrix has spectral norm rate·sqrt(max(1, m/n))."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Memory of past gradients of hidden matrices (Nesterov)."""
    embed_rate: float = Field(default=0.02, gt=0)
    """AdamW rate of embedding tables."""
    head_rate: float = Field(default=0.004, gt=0)
    """AdamW rate of the head (when it is not the embedding table)."""
    vector_rate: float = Field(default=0.01, gt=0)
    """AdamW rate of everything else: norms, biases."""
    betas: tuple[float, float] = (0.8, 0.95)
    """AdamW's memories."""

    def build(self, parameters: Named) -> list[torch.optim.Optimizer]:
        sets: dict[str, list[tuple[str, nn.Parameter]]] = {"hidden": [], "embed": [], "head": [], "vector": []}
        for name, parameter in parameters:
            sets[role(name, parameter)].append((name, parameter))
        built: list[torch.optim.Optimizer] = []
        if sets["hidden"]:
            hidden = [p for _, p in sets["hidden"]]
            half = distributed.from_first(fast_bfloat16(hidden[0].device))                # all processes must make the same step
            built.append(Orthogonalised(hidden, self.rate, self.momentum, self.decay, half))
        for part, rate in (("embed", self.embed_rate), ("head", self.head_rate), ("vector", self.vector_rate)):
            if sets[part]:
                built += AdamW(rate=rate, betas=self.betas, eps=1e-10, decay=self.decay if part == "vector" else 0.0).build(sets[part])
        return built


def role(name: str, parameter: nn.Parameter) -> str:
    """Which of Muon's sets a parameter belongs to."""
    steps = name.split(".")
    if steps[0] in ("embed", "value_embeds", "positions"):
        return "embed"
    if "head" in steps:
        return "head"
    return "hidden" if parameter.ndim >= 2 else "vector"


class Orthogonalised(torch.optim.Optimizer):
    """The update of hidden matrices; equal shapes are orthogonalised together, float32 ones in bfloat16 when `half`."""

    def __init__(self, parameters: list[nn.Parameter], rate: float, momentum: float, decay: float, half: bool = False):
        super().__init__(parameters, {"lr": rate, "momentum": momentum, "decay": decay})
        self.half = half

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:                     # type: ignore[override]
        for group in self.param_groups:
            moving: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            shapes: dict[torch.Size, list[Tensor]] = {}
            for parameter in moving:
                shapes.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in shapes.items():
                gradients = [p.grad for p in parameters if p.grad is not None]
                memories = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters]
                torch._foreach_lerp_(memories, gradients, 1 - group["momentum"])
                looked_ahead = torch._foreach_lerp(gradients, memories, group["momentum"])
                stacked = torch.stack(looked_ahead).flatten(2)                                # (n, rows, columns)
                updates = orthogonalise(stacked.bfloat16() if self.half and stacked.dtype == torch.float32 else stacked).to(parameters[0].dtype)
                rate = group["lr"] * max(1.0, stacked.shape[1] / stacked.shape[2]) ** 0.5
                if group["decay"]:
                    torch._foreach_mul_(parameters, 1 - group["lr"] * group["decay"])
                torch._foreach_add_(parameters, list(updates.view(-1, *shape).unbind()), alpha=-rate)


def orthogonalise(matrices: Tensor) -> Tensor:
    """The polar factor of each (n, rows, columns) matrix, approximately; singular values end near 1."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
