"""Attention in blocks: what it gives and its gradients are those of the formula, whatever a token may look at."""

import pytest
import torch
from torch.nn import functional as F

from ftheta.blocks import attend as room
from ftheta.blocks.attend import Reach, attend, products
from ftheta.blocks.attention import Attention
from ftheta.blocks.context import Context

SHAPES = [(1,), (11,), (1, 11), (7, 11), (2, 1, 1, 11), (2, 1, 7, 11), (1, 3, 7, 11), (2, 3, 7, 11)]
FAR = Reach(behind=100)
"""Everything that there is."""


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks of two queries of one row, so that a few tokens are in many."""
    monkeypatch.setattr(room, "NEAR", 0)
    monkeypatch.setattr(room, "BLOCK", 2)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_formula_with_any_bias_and_its_gradient(shape):
    torch.manual_seed(0)
    q, k, v, bias, grad = drawn(2, 3, 7, 4), drawn(2, 3, 11, 4), drawn(2, 3, 11, 5)[..., :4], drawn(*shape), torch.randn(2, 3, 7, 4, dtype=torch.float64)
    found, expected = attend(q, k, v, bias, 0.7, FAR), products(q, k, v, bias, 0.7)
    assert type(found.grad_fn).__name__ == "InBlocksBackward" and torch.allclose(found, expected, atol=1e-12)
    for mine, theirs in zip(torch.autograd.grad(found, (q, k, v, bias), grad), torch.autograd.grad(expected, (q, k, v, bias), grad), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(attend(q, k, v, bias, 0.7, FAR), found)


@pytest.mark.parametrize("past", [0, 5])
@pytest.mark.parametrize("reach", [Reach(ahead=0), Reach(behind=2, ahead=0), Reach(behind=1, ahead=3), Reach(behind=2), FAR], ids=str)
def test_keys_beyond_reach_are_not_looked_at(reach, past):
    torch.manual_seed(0)
    q, k, v = drawn(2, 3, 8, 4), drawn(2, 3, 8 + past, 4), drawn(2, 3, 8 + past, 4)
    away = torch.arange(8 + past) - torch.arange(past, past + 8)[:, None]
    seen = (away <= (100 if reach.ahead is None else reach.ahead)) & (-away <= (100 if reach.behind is None else reach.behind))
    bias = torch.zeros(8, 8 + past, dtype=torch.float64).masked_fill(~seen, float("-inf"))
    reached = [part for part in room.parts(q, k, reach) if part.rows.start == 0]
    assert len(reached) == 4 and sum((part.keys.stop - part.keys.start) * 2 for part in reached) < 2 * seen.sum() + 8
    found, expected = attend(q, k, v, bias, None, reach), F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    assert torch.allclose(found, expected, atol=1e-12)
    for mine, theirs in zip(torch.autograd.grad(found.sum(), (q, k, v)), torch.autograd.grad(expected.sum(), (q, k, v)), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12)


def test_gradients_of_gradients():
    """As penalties on gradients need them."""
    torch.manual_seed(0)
    q, k, v = drawn(1, 2, 5, 3), drawn(1, 2, 5, 3), torch.randn(1, 2, 5, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q, k: attend(q, k, v, None, None, FAR), (q, k))
    assert torch.autograd.gradgradcheck(lambda q, k: attend(q, k, v, None, None, FAR), (q, k))


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("side", ["plain", "documents", "prefix"])
def test_a_mixer_in_blocks_is_one_without(side, causal, window, monkeypatch):
    torch.manual_seed(0)
    mixer = Attention(16, heads=4, kv_heads=2, causal=causal, window=window).double()
    x = torch.randn(2, 9, 16, dtype=torch.float64)

    def context() -> Context:
        documents = torch.tensor([[0] * 4 + [1] * 5, [0] * 9]) if side == "documents" else None
        prefix = (torch.arange(9) < 4).expand(2, 9) if side == "prefix" else None
        return Context(torch.arange(9)[None], documents, prefix=prefix)

    found = mixer(x, context())
    monkeypatch.setattr(room, "NEAR", 1 << 20)
    assert torch.allclose(found, mixer(x, context()), atol=1e-12)


@pytest.mark.parametrize(("reach", "kept"), [(FAR, 50), (None, 100)])
def test_many_keys_are_left_to_the_fused_kernel(reach, kept, monkeypatch):
    """When learning, since probabilities kept for the gradient grow with the square of the length; and where blocks would leave nothing out."""
    monkeypatch.setattr(room, "KEPT", kept)
    q, k, v = drawn(1, 2, 8, 4), drawn(1, 2, 8, 4), drawn(1, 2, 8, 4)
    found = attend(q, k, v, None, None, reach)
    assert "ScaledDotProduct" in type(found.grad_fn).__name__ and torch.allclose(found, products(q, k, v, None, 0.5), atol=1e-12)


@pytest.mark.parametrize("tiles", [True, False])
def test_in_bfloat16_without_a_gradient(tiles, monkeypatch):
    """Where the processor multiplies in tiles the fused kernel takes over; what it gives is the same."""
    monkeypatch.setattr(room, "tiles", lambda: tiles)
    torch.manual_seed(0)
    q, k, v = (drawn(2, 3, 8, 16).bfloat16().detach() for _ in range(3))
    bias = torch.zeros(8, 8).masked_fill(torch.ones(8, 8).triu(1).bool(), float("-inf")).bfloat16()
    found = attend(q, k, v, bias, None, Reach(ahead=0))
    exact = products(q.double(), k.double(), v.double(), bias.double(), 0.25)
    assert float((found.double() - exact).abs().max()) < 0.03
