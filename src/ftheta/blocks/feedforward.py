"""Position-wise networks: two layers with an activation, or gated (Shazeer 2020, arXiv:2002.05202)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ftheta.blocks.activation import ActivationName
from ftheta.blocks.linear import Linear, activated

Hidden = Annotated[int | None, Field(gt=0, description="Width between the layers; none: a multiple of the width outside.")]
Activation = Annotated[ActivationName, Field(description="What is applied between the layers.")]
Bias = Annotated[bool, Field(description="Whether the layers have biases.")]


class MLP(nn.Module):
    """down(activation(up(x))); hidden is 4·dim unless given."""

    def __init__(self, dim: int, *, hidden: Hidden = None, activation: Activation = "gelu_tanh", bias: Bias = False):
        super().__init__()
        self.activation: ActivationName = activation
        self.up = Linear(dim, hidden or 4 * dim, bias=bias)
        self.down = Linear(hidden or 4 * dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(activated(self.activation, self.up, x))


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
        return self.down(activated(self.activation, self.gate, x) * self.up(x))


