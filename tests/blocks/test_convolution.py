"""ConvNorm equals the convolution, batch norm and ReLU of its formula, computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ftheta.blocks.convolution import ConvNorm


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
