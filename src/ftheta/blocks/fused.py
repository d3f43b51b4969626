"""Affine maps and convolutions together with what follows them, in one pass over memory, and weights packed for them: what oneDNN offers and torch's compiler
uses, here without compiling.

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
WITH = "packed"
"""What the packed copy of a weight is called where it is kept with it."""
SMALL = 1 << 17
"""Numbers of a weight from which a packed copy is worth its memory."""


def fuses(x: Tensor) -> bool:
    """Whether a pass over x can be made so."""
    plain = x.device.type == "cpu" and x.dtype == torch.bfloat16 and not torch.is_grad_enabled()
    return plain and fast_here() and not (torch.compiler.is_compiling() or torch.compiler.is_exporting())


def fast_here() -> bool:
    """Whether the processor has instructions for bfloat16, and torch has oneDNN, which uses them."""
    return torch.backends.mkldnn.is_available() and fast_bfloat16(torch.device("cpu"))


def pack(weight: Tensor) -> None:
    """Keep with a weight (outputs, inputs) a copy of it in the order in which products read it, from now on, where `linear` is faster for it; else keep none.

    Two to a hundred rows then take two thirds of the time, and of what a row gives alone and among others one number in some thousands differs, in its last
    bit. How many rows it is packed for decides how oneDNN divides a product: of a map to fewer outputs, one, or some hundred rows take twice as long.
    """
    if hasattr(weight, WITH):
        delattr(weight, WITH)
    if weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and weight.numel() >= SMALL and fast_here():
        rows = 1 if len(weight) <= weight.shape[1] else 16
        setattr(weight, WITH, (weight._version, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)))


def packed(weight: Tensor) -> Tensor | None:
    """The copy that is kept with a weight, made anew if that has been written into."""
    version, kept = getattr(weight, WITH, (None, None))
    if kept is not None and version != weight._version:
        pack(weight)
        return getattr(weight, WITH)[1]
    return kept


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: ActivationName | None = None) -> Tensor:
    """activation(x Wᵀ + b), for activations of `AFTER`; all of x's type."""
    name, form = AFTER[activation]
    kept = packed(weight)
    return torch.ops.mkldnn._linear_pointwise(x, weight if kept is None else kept, bias, name, [], form)


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
