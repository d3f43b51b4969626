import pytest
import torch
from torch.nn import functional as F

from ftheta.blocks.attention import Attention, attend
from ftheta.blocks.context import Cache, Context, document_positions
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
