"""Activations that are reckoned in another way than torch's own."""

import pytest
import torch
from torch.nn import functional as F

from ftheta.blocks import activation
from ftheta.blocks.activation import activate


@pytest.mark.parametrize("shape", [(activation.TOGETHER // 2,), (3, activation.TOGETHER // 2 + 5), (7, 11)], ids=str)
def test_gelu_tanh_of_many_numbers_in_bfloat16(shape):
    """To the bit nearest to the formula, as torch's own is; its gradient is torch's, and so is what follows from it."""
    x = (3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).bfloat16().requires_grad_()
    y, exact = activate("gelu_tanh", x), F.gelu(x.double(), approximate="tanh")
    assert y.shape == x.shape and float((y.double() - exact).abs().max().detach()) <= 1.01 * float((exact.bfloat16().double() - exact).abs().max().detach())
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (expected,) = torch.autograd.grad(F.gelu(x, approximate="tanh").sum(), x, create_graph=True)
    assert torch.equal(slope, expected)
    assert torch.equal(torch.autograd.grad(slope.sum(), x)[0], torch.autograd.grad(expected.sum(), x)[0])


def test_gelu_tanh_of_parts_that_lie_apart():
    x = torch.randn(2, activation.TOGETHER).bfloat16().t()
    assert torch.equal(activate("gelu_tanh", x), activate("gelu_tanh", x.contiguous()))
