"""Positions that are computed: sines, and scores for distances."""

import math

import pytest
import torch

from ftheta.blocks import attend, attention
from ftheta.blocks.attention import Attention, CrossAttention
from ftheta.blocks.context import Context, Source
from ftheta.blocks.position import Relative, Sinusoidal

NEGATIVE = float("-inf")


def bucket(distance, causal, buckets, far):
    """The bucket of one distance, as the paper's appendix and T5's code have it."""
    first = 0
    if causal:
        back = max(-distance, 0)
    else:
        buckets //= 2
        first, back = (buckets if distance > 0 else 0), abs(distance)
    exact = buckets // 2
    if back < exact:
        return first + back
    return first + min(exact + int(math.log(back / exact) / math.log(far / exact) * (buckets - exact)), buckets - 1)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("buckets", "far"), [(32, 128), (8, 12), (4, 5)])
def test_buckets_are_those_of_t5(causal, buckets, far):
    relative = Relative(8, 0, heads=2, causal=causal, buckets=buckets, distance=far)
    distances = torch.tensor([d for d in range(-500, 501) if abs(d) & (abs(d) - 1)])      # where a logarithm is whole, rounding decides
    assert relative.bucket(distances).tolist() == [bucket(d, causal, buckets, far) for d in distances.tolist()]
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    whole = torch.arange(-2000, 2001)
    assert torch.equal(relative.bucket(whole), t5.T5Attention._relative_position_bucket(whole, not causal, buckets, far))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 3])
def test_scores_get_the_number_of_their_distance(causal, window, monkeypatch):
    draws = torch.Generator().manual_seed(0)
    block, relative = Attention(12, heads=3, head_dim=5, causal=causal, window=window, scale=0.7), Relative(12, 0, heads=3, causal=causal, buckets=8, distance=6)
    for parameter in (*block.parameters(), *relative.parameters()):
        torch.nn.init.normal_(parameter, std=0.5, generator=draws)
    x, documents = torch.randn(2, 11, 12, generator=draws), torch.tensor([[0] * 4 + [1] * 7, [0] * 11])

    def run():
        context = Context(torch.arange(11)[None], documents)
        return block(relative(x, context), context)

    q, k, v = (part(x).view(2, 11, 3, 5).transpose(1, 2) for part in (block.query, block.key, block.value))
    scores = 0.7 * q @ k.transpose(2, 3)
    for i in range(11):
        for j in range(11):
            seen = (documents[:, i] == documents[:, j]) & (not causal or j <= i) & (window is None or abs(i - j) < window)
            scores[:, :, i, j] = torch.where(seen[:, None], scores[:, :, i, j] + relative.weight[bucket(j - i, causal, 8, 6)], NEGATIVE)
    expected = block.output((scores.softmax(-1) @ v).transpose(1, 2).reshape(2, 11, 15))
    torch.testing.assert_close(run(), expected, rtol=0, atol=1e-5)
    monkeypatch.setattr(attend, "NEAR", 0)
    monkeypatch.setattr(attend, "KEPT", 1)                                                # the fused kernel, and then blocks of queries
    torch.testing.assert_close(run(), expected, rtol=0, atol=1e-5)
    monkeypatch.setattr(attention, "WHOLE", 1)
    monkeypatch.setattr(attend, "LONG", 4)
    torch.testing.assert_close(run(), expected, rtol=0, atol=1e-5)


def test_relative_positions_need_heads_and_room():
    with pytest.raises(ValueError, match="choose mixer attention"):
        Relative(8, 0)
    with pytest.raises(ValueError, match="distance 16 must be more"):
        Relative(8, 0, heads=2, distance=16)


@pytest.mark.parametrize("dim", [6, 7])
def test_sines_come_before_cosines(dim):
    context = Context(torch.tensor([[0, 1, 5], [3, 100, 2]]))
    found = Sinusoidal(dim, 0)(torch.ones(2, 3, dim, dtype=torch.float64), context) - 1
    for row, column in ((0, 1), (0, 2), (1, 1)):
        p = int(context.positions[row, column])
        sines = [math.sin(p / 10000 ** (2 * i / dim)) for i in range((dim + 1) // 2)]
        expected = sines + [math.cos(p / 10000 ** (2 * i / dim)) for i in range(dim // 2)]
        torch.testing.assert_close(found[row, column], torch.tensor(expected, dtype=torch.float64))


def test_looking_across_sees_the_source_of_the_own_document():
    draws = torch.Generator().manual_seed(0)
    block = CrossAttention(12, heads=4, kv_heads=2, head_dim=5, bias=True, qk_norm=None)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=draws)
    x, source = torch.randn(2, 4, 12, generator=draws), torch.randn(2, 6, 12, generator=draws)
    mine, theirs = torch.tensor([[0, 0, 1, -1], [0, 1, 2, 2]]), torch.tensor([[0, 0, 1, 1, 1, -1], [1, 1, 0, 0, 0, 0]])
    found = block(x, Context(torch.arange(4)[None], mine, source=Source(source, theirs)))
    for row in range(2):
        for t in range(4):
            seen = [s for s in range(6) if theirs[row, s] == mine[row, t] >= 0]
            heads = []
            for head in range(4):
                q = block.query(x[row, t]).view(4, 5)[head]
                k, v = (part(source[row]).view(6, 2, 5)[:, head // 2] for part in (block.key, block.value))
                heads.append((k[seen] @ q / math.sqrt(5)).softmax(0) @ v[seen] if seen else torch.zeros(5))
            torch.testing.assert_close(found[row, t], block.output(torch.cat(heads)), rtol=0, atol=1e-5)
