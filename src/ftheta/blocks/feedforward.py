"""Position-wise networks: two layers with an activation, or gated (Shazeer 2020, arXiv:2002.05202)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks.linear import Linear

ActivationName = Literal["gelu", "gelu_tanh", "hard_silu", "relu", "relu2", "relu6", "silu", "tanh"]
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {"hard_silu": F.hardswish, "relu": F.relu, "relu6": F.relu6, "silu": F.silu, "tanh": torch.tanh}
Hidden = Annotated[int | None, Field(gt=0, description="Width between the layers; none: a multiple of the width outside.")]
Activation = Annotated[ActivationName, Field(description="What is applied between the layers.")]
Bias = Annotated[bool, Field(description="Whether the layers have biases.")]


def activate(name: ActivationName, x: Tensor) -> Tensor:
    """Apply an activation by name; relu2 is relu(x)² (So et al. 2021, arXiv:2109.08668), relu6 min(relu(x), 6) and hard_silu x·relu6(x + 3) / 6, also
    known as hard-swish (Howard et al. 2019, arXiv:1905.02244).
    """
    if name == "relu2":
        return F.relu(x).square()
    if name in PLAIN:
        return PLAIN[name](x)
    return F.gelu(x, approximate="tanh" if name == "gelu_tanh" else "none")


class MLP(nn.Module):
    """down(activation(up(x))); hidden is 4·dim unless given."""

    def __init__(self, dim: int, *, hidden: Hidden = None, activation: Activation = "gelu_tanh", bias: Bias = False):
        super().__init__()
        self.activation: ActivationName = activation
        self.up = Linear(dim, hidden or 4 * dim, bias=bias)
        self.down = Linear(hidden or 4 * dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(activate(self.activation, self.up(x)))


class Gated(nn.Module):
    """down(activation(gate(x)) · up(x)); SwiGLU with silu. hidden is 8/3·dim, rounded up to a multiple of 32, unless given."""

    def __init__(self, dim: int, *, hidden: Hidden = None, activation: Activation = "silu", bias: Bias = False):
        super().__init__()
        hidden = hidden or -(-8 * dim // 3 // 32) * 32
        self.activation: ActivationName = activation
        self.gate = Linear(dim, hidden, bias=bias)
        self.up = Linear(dim, hidden, bias=bias)
        self.down = Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(activate(self.activation, self.gate(x)) * self.up(x))


