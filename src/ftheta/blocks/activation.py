"""Functions of single numbers between layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

ActivationName = Literal["gelu", "gelu_tanh", "hard_silu", "relu", "relu2", "relu6", "silu", "tanh"]
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {"hard_silu": F.hardswish, "relu": F.relu, "relu6": F.relu6, "silu": F.silu, "tanh": torch.tanh}
LINEAR, CUBIC = 2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715
TOGETHER = 1 << 18
"""Numbers that `GeluTanh` looks at together, so that they stay near the processor; it is for at least half as many."""


def activate(name: ActivationName, x: Tensor) -> Tensor:
    """Apply an activation by name; relu2 is relu(x)² (So et al. 2021, arXiv:2109.08668), relu6 min(relu(x), 6) and hard_silu x·relu6(x + 3) / 6, also
    known as hard-swish (Howard et al. 2019, arXiv:1905.02244); gelu_tanh is GPT-2's approximation of gelu (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    """
    if name == "relu2":
        return F.relu(x).square()
    if name in PLAIN:
        return PLAIN[name](x)
    if name == "gelu":
        return F.gelu(x)
    slow = x.device.type == "cpu" and x.dtype == torch.bfloat16 and x.numel() >= TOGETHER // 2
    if not slow or torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return F.gelu(x, approximate="tanh")
    y = GeluTanh.apply(x)
    assert isinstance(y, Tensor)
    return y


class GeluTanh(torch.autograd.Function):
    """x σ(2 sqrt(2/π) (x + 0.044715 x³)), which is gelu_tanh with the tanh written as σ: torch works the one out number by number on a CPU, the other in
    vectors (`benchmarks/training.py` has such a model). Reckoned in float32.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        y, linear = torch.empty_like(x), torch.tensor(LINEAR)
        for part, place in zip(x.view(-1).split(TOGETHER), y.view(-1).split(TOGETHER), strict=True):
            part = part.float()
            place.copy_(torch.addcmul(linear, part, part, value=CUBIC).mul_(part).sigmoid_().mul_(part))
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors                                                          # type: ignore[attr-defined]
        return torch.ops.aten.gelu_backward(grads[0], x, approximate="tanh")
