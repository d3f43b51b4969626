import pytest
import torch
from torch.nn import functional as F

from ftheta.blocks.attend import attend, attend_to_many
from ftheta.blocks.attention import Attention
from ftheta.blocks.context import Cache, Context
from ftheta.blocks.documents import document_positions
from ftheta.blocks.position import Rotary, rotate


def context(length: int, documents=None, cache=None) -> Context:
    return Context(torch.arange(length)[None], documents, cache)


def filled(block):
    torch.manual_seed(0)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return block.double()


@pytest.mark.parametrize("causal", [True, False])
def test_equals_torch_multihead_attention(causal):
    ours = filled(Attention(32, heads=4, causal=causal, bias=True))
    theirs = torch.nn.MultiheadAttention(32, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    x = torch.randn(2, 9, 32, dtype=torch.float64)
    mask = torch.ones(9, 9, dtype=torch.bool).triu(1) if causal else None
    assert torch.allclose(ours(x, context(9)), theirs(x, x, x, attn_mask=mask)[0], atol=1e-12)


def test_plain_products_equal_the_fused_kernel():
    q, k, v = (torch.randn(2, 3, 7, 8, dtype=torch.float64) for _ in range(3))
    bias = torch.zeros(7, 7, dtype=torch.float64).masked_fill(torch.ones(7, 7).triu(1).bool(), float("-inf"))
    assert torch.allclose(attend(q, k, v, bias), F.scaled_dot_product_attention(q, k, v, is_causal=True), atol=1e-12)


def test_packed_documents_equal_documents_alone():
    block, rotary = filled(Attention(32, heads=4, kv_heads=2)), Rotary(32, 64, 8)
    documents = torch.tensor([[0] * 4 + [1] * 7])
    x = torch.randn(1, 11, 32, dtype=torch.float64)
    packed = Context(document_positions(documents), documents)
    together = block(rotary(x, packed), packed)
    for part in (slice(0, 4), slice(4, 11)):
        alone = context(part.stop - part.start)
        assert torch.allclose(together[:, part], block(rotary(x[:, part], alone), alone), atol=1e-12)


def test_a_cache_changes_nothing():
    block = filled(Attention(32, heads=4))
    x, cache = torch.randn(2, 6, 32, dtype=torch.float64), Cache()
    whole, pieces = block(x, context(6)), []
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        pieces.append(block(x[:, start:stop], context(stop - start, cache=cache)))
        cache.length = stop
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-12)


def test_rotary_depends_on_distance_only():
    rotary = Rotary(8, 64, 8)
    q, k = torch.randn(1, 1, 1, 8, dtype=torch.float64), torch.randn(1, 1, 1, 8, dtype=torch.float64)

    def score(i, j):
        angles = []
        for position in (i, j):
            c = Context(torch.tensor([[position]]))
            rotary(torch.zeros(1, 1, 8, dtype=torch.float64), c)
            angles.append(c.rotary)
        return (rotate(q, angles[0]) * rotate(k, angles[1])).sum()

    assert torch.allclose(score(9, 4), score(25, 20), atol=1e-12)
    assert not torch.allclose(score(9, 4), score(9, 5), atol=1e-6)


def test_document_positions_restart():
    assert document_positions(torch.tensor([[0, 0, 1, 1, 1, 4], [2, 2, 2, 2, 2, 2]])).tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5]]


def test_impossible_heads_are_refused():
    with pytest.raises(ValueError, match="multiple of heads"):
        Attention(30, heads=4)
    with pytest.raises(ValueError, match="multiple of kv_heads"):
        Attention(32, heads=4, kv_heads=3)


@pytest.mark.parametrize("window", [1, 2, 5, 50])
def test_a_window_hides_what_is_farther_and_a_cache_keeps_no_more(window):
    block = filled(Attention(32, heads=4, kv_heads=2, window=window))
    x, cache = torch.randn(2, 12, 32, dtype=torch.float64), Cache()
    whole, pieces = block(x, context(12)), []
    for start, stop in ((0, 7), (7, 8), (8, 12)):
        pieces.append(block(x[:, start:stop], context(stop - start, cache=cache)))
        cache.length = stop
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-12)
    assert cache.states[block][0].shape[2] == min(12, window - 1)
    farther = x.clone()
    farther[:, : 12 - window] += 1
    assert torch.equal(block(farther, context(12))[:, -1], whole[:, -1])
    if window < 12:
        farther[:, 12 - window] += 1
        assert not torch.allclose(block(farther, context(12))[:, -1], whole[:, -1], atol=1e-6)


def may_see(causal, window, documents, past):
    """The rule itself, token by token."""
    queries, keys = torch.arange(past, past + 33)[:, None], torch.arange(past + 33)[None]
    allowed = (keys <= queries) if causal else torch.ones(33, past + 33, dtype=torch.bool)
    if window is not None:
        allowed = allowed & ((queries - keys).abs() < window)
    allowed = allowed.expand(2, 1, -1, -1)
    return allowed if documents is None else allowed & (documents[:, None, past:, None] == documents[:, None, None, :])


@pytest.mark.parametrize("past", [0, 6])
@pytest.mark.parametrize("numbers", [None, [[0] * 9 + [1] * 18 + [2] * 12, [-1] * 4 + [0] * 35], [[3] * 39, [1] * 39]], ids=["none", "packed", "alike"])
@pytest.mark.parametrize("window", [None, 1, 5, 13, 100])
@pytest.mark.parametrize("causal", [True, False])
def test_blocks_of_queries_see_what_the_rule_says(causal, window, numbers, past, monkeypatch):
    monkeypatch.setattr("ftheta.blocks.attend.LONG", 7)
    documents = None if numbers is None else torch.tensor(numbers)[:, : past + 33]
    cache = Cache(documents=None if documents is None else documents[:, :past], length=past) if past else None
    here = context(33, None if documents is None else documents[:, past:], cache)
    draws = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 8, dtype=torch.float64, generator=draws) for length in (33, past + 33, past + 33))
    expected = attend(q, k, v, torch.zeros(2, 1, 33, past + 33, dtype=torch.float64).masked_fill(~may_see(causal, window, documents, past), float("-inf")))
    kept = here.remembered(window) + 33
    k, v = k[:, :, -kept:].requires_grad_(), v[:, :, -kept:]
    found = attend_to_many(q, k, v, here, causal, window)
    whole = attend(q, k, v, here.bias(33, causal, torch.float64, window))
    if causal or past == 0:                                                              # looking ahead and remembering do not go together
        assert torch.allclose(whole, expected, atol=1e-12)
    assert torch.allclose(found, whole, atol=1e-12)
    assert torch.allclose(torch.autograd.grad(found.square().sum(), k)[0], torch.autograd.grad(whole.square().sum(), k)[0], atol=1e-10)


def test_long_sequences_take_the_blocks(monkeypatch):
    block, x = filled(Attention(32, heads=4, window=3)), torch.randn(1, 40, 32, dtype=torch.float64)
    whole = block(x, context(40))
    monkeypatch.setattr("ftheta.blocks.attention.WHOLE", 0)
    monkeypatch.setattr(Context, "bias", None)                                           # nothing of T · T numbers is made
    assert torch.allclose(block(x, context(40)), whole, atol=1e-12)


def test_heads_of_their_own_width_and_biases_where_they_are_wanted():
    block = Attention(30, heads=4, kv_heads=2, head_dim=6, bias=True, output_bias=False)
    assert [tuple(m.weight.shape) for m in (block.query, block.key, block.value, block.output)] == [(24, 30), (12, 30), (12, 30), (30, 24)]
    assert block.query.bias is not None and block.output.bias is None
    assert Attention(32, heads=4, bias=True).output.bias is not None
