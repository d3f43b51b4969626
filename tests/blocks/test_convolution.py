"""ConvNorm equals the convolution, batch norm and ReLU of its formula, computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ftheta.blocks import MAP_NORMS
from ftheta.blocks.convolution import ConvNorm
from ftheta.core.config import Slot
from ftheta.evaluation.probes.small import scatter


@pytest.mark.parametrize("kernel, stride, height", [(1, 1, 9), (3, 1, 9), (3, 2, 5), (7, 2, 5), (1, 2, 5)])
@pytest.mark.parametrize("activate", [True, False])
def test_equals_its_formula(kernel: int, stride: int, height: int, activate: bool) -> None:
    part = ConvNorm(3, 4, kernel=kernel, stride=stride, activation="relu" if activate else None).double().train()
    for parameter in part.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(5, 3, 9, 9, dtype=torch.float64)
    windows = F.unfold(x, kernel, padding=kernel // 2, stride=stride)                     # (B, 3·k², pixels)
    y = torch.einsum("of,bfp->bop", part.convolution.weight.flatten(1), windows)
    mean, var = y.mean((0, 2), keepdim=True), y.var((0, 2), unbiased=False, keepdim=True)
    y = (y - mean) / (var + part.norm.eps).sqrt() * part.norm.weight[:, None] + part.norm.bias[:, None]
    expected = (y.clamp(min=0) if activate else y).unflatten(2, (height, height))
    torch.testing.assert_close(part(x), expected)


def test_has_no_bias_of_its_own() -> None:
    assert {name for name, _ in ConvNorm(2, 3).named_parameters()} == {"convolution.weight", "norm.weight", "norm.bias"}


# folded


def layer(**fields: object) -> ConvNorm:
    part = scatter(ConvNorm(6, 8, **fields).double(), 0)                                  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    part.norm.running_mean.copy_(torch.randn(8, generator=generator))                     # type: ignore[union-attr, operator]
    part.norm.running_var.copy_(0.2 + torch.rand(8, generator=generator))                 # type: ignore[union-attr, operator]
    return part.eval()                                                                    # type: ignore[return-value]


def calls(part: ConvNorm, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """What it gives, and how often its norm was asked."""
    asked: list[nn.Module] = []
    handle = part.norm.register_forward_hook(lambda module, given, found: asked.append(module))
    found = part(x)
    handle.remove()
    return found, len(asked)


@pytest.mark.parametrize("fields", [{}, {"bias": True}, {"groups": 2, "stride": 2}, {"kernel": 1, "activation": None}, {"stride": 2, "padding": "same"}])
def test_it_is_the_norm_after_the_convolution(fields: dict[str, object]) -> None:
    part, x = layer(**fields), torch.randn(2, 6, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    convolution, norm = part.convolution, part.norm
    expected = F.batch_norm(convolution(x), norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)           # type: ignore[arg-type]
    expected = expected if part.activation is None else expected.relu()
    with_gradients, asked = calls(part, x)
    assert asked == 1
    torch.testing.assert_close(with_gradients, expected, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        same, asked = calls(part, x)
        assert asked == 1 and torch.equal(same, with_gradients)                           # of the norm's own type nothing changes
        alone = part.convolution.convolved(x, *part.folded())
        torch.testing.assert_close(alone if part.activation is None else alone.relu(), expected, rtol=1e-10, atol=1e-10)
        narrow, asked = calls(part, x.bfloat16())
        assert asked == 0 and narrow.dtype == torch.bfloat16
        torch.testing.assert_close(narrow.double(), expected, rtol=0, atol=0.02 * float(expected.abs().max()))


def test_statistics_that_move_and_other_norms_are_left_as_they_are() -> None:
    x = torch.randn(4, 6, 5, 5, dtype=torch.float64)
    part = layer().train()
    with torch.no_grad():
        before = part.norm.running_mean.clone()                                           # type: ignore[union-attr, operator]
        _, asked = calls(part, x.bfloat16())
        assert asked == 1 and not torch.equal(part.norm.running_mean, before)             # type: ignore[arg-type]
        other = ConvNorm(6, 8, norm=Slot(MAP_NORMS).parse("layernorm")).double().eval()   # type: ignore[arg-type]
        assert calls(other, x.bfloat16())[1] == 1
