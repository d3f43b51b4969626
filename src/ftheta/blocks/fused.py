"""Affine maps and convolutions together with what follows them, in one pass over memory: what oneDNN offers and torch's compiler uses, here without compiling.

In bfloat16 on a CPU, writing and reading what is between a convolution and its activation takes longer than the convolution. Nothing can be learned through
these: they are for passes without gradients. What is between is not rounded to bfloat16, so results are a little nearer to the formula.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from ftheta.blocks.activation import ActivationName, activate
from ftheta.core.device import fast_bfloat16

AFTER: dict[ActivationName | None, tuple[str, str]] = {
    None: ("none", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "hard_silu": ("hardswish", ""), "relu": ("relu", ""), "silu": ("swish", ""),
}
"""Activations that can follow → what oneDNN calls them."""


def fuses(x: Tensor) -> bool:
    """Whether a pass over x can be made so."""
    plain = x.device.type == "cpu" and x.dtype == torch.bfloat16 and not torch.is_grad_enabled()
    return plain and torch.backends.mkldnn.is_available() and fast_bfloat16(x.device) and not (torch.compiler.is_compiling() or torch.compiler.is_exporting())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: ActivationName | None = None) -> Tensor:
    """activation(x Wᵀ + b), for activations of `AFTER`; all of x's type."""
    name, form = AFTER[activation]
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, name, [], form)


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, like: torch.nn.Conv2d, activation: ActivationName | None = None, added: Tensor | None = None,
) -> Tensor:
    """activation(W ∗ x + b + added), for activations of `AFTER`, strides and the rest being those of `like`; all of x's type."""
    place = (list(like.padding), list(like.stride), list(like.dilation), like.groups)
    pointwise = torch.ops.mkldnn._convolution_pointwise
    if added is None:
        name, form = AFTER[activation]
        return pointwise(x, weight, bias, *place, name, [], form)
    if activation in (None, "relu") and like.groups == 1 and suggest_memory_format(x) is torch.channels_last:      # all that oneDNN adds to
        return pointwise(x, added, weight, bias, *place, "add", 1.0, activation, [], "")
    y = pointwise(x, weight, bias, *place, "none", [], "") + added
    return y if activation is None else activate(activation, y)
