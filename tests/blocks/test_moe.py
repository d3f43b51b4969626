"""A mixture of experts equals the loop over tokens; its terms of the loss add up over rows, documents and micro-batches."""

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.blocks.context import Context
from ftheta.blocks.documents import document_runs
from ftheta.blocks.moe import MoE
from ftheta.core.contract import Loss
from ftheta.objectives.language import NextToken
from ftheta.objectives.masked import Masked
from ftheta.objectives.objective import Phase


def filled(dtype=torch.float64, **arguments):
    block = MoE(12, **arguments)
    draws = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=draws)
    return block.to(dtype)


def context(documents=None, length=9):
    return Context(torch.arange(length)[None], documents)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("experts", "active"), [(5, 2), (4, 4), (1, 1), (40, 3)])
def test_equals_the_loop_over_tokens(experts, active, normalise):
    block = filled(torch.float32, experts=experts, active=active, normalise=normalise, hidden=20)
    x = torch.randn(3, 9, 12, requires_grad=True)
    expected = []
    for token in x.reshape(-1, 12):
        shares = block.router(token).softmax(-1)
        best = shares.sort(descending=True).indices[:active]
        total = shares[best].sum() if normalise else 1.0
        expected.append(sum(shares[i] / total * block.experts[int(i)](token) for i in best))
    naive, found = torch.stack(expected).view(3, 9, 12), block(x, context())
    assert (found - naive).abs().max() < 1e-6 * naive.abs().max()
    with torch.no_grad():
        assert torch.equal(block(x, context()), found)                                   # experts without tokens are passed over, and nothing changes
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), [x, *block.parameters()], allow_unused=True) for y in (found, naive)), strict=True):
        assert (a - (0.0 if b is None else b)).abs().max() <= 3e-6 * a.abs().max()


def test_auxiliary_is_the_formula():
    block = filled(experts=5, active=2, balance=0.3, z_loss=0.0)
    x, here = torch.randn(2, 9, 12, dtype=torch.float64), context()
    block(x, here)
    shares = block.router(x).softmax(-1)
    chosen = torch.zeros_like(shares).scatter_(2, shares.topk(2).indices, 1.0)
    f, p = chosen.mean(1) * 5 / 2, shares.mean(1)                                         # (B, E), DeepSeek-V2's f_i and P_i
    assert torch.allclose(here.auxiliary[0], 9 * 0.3 * (f * p).sum(1), atol=1e-12)
    block.balance, block.z_loss = 0.0, 0.2
    block(x, here)
    assert torch.allclose(here.auxiliary[1], 0.2 * block.router(x).logsumexp(-1).square().sum(1), atol=1e-12)


def test_balanced_choices_cost_least():
    block = filled(experts=4, active=1, balance=1.0, z_loss=0.0)
    with torch.no_grad():
        block.router.weight.copy_(10 * torch.eye(4, 12))
    same, different = context(length=4), context(length=4)
    block(torch.eye(12)[:4].double()[None], different)
    block(torch.eye(12)[:1].double().expand(1, 4, 12), same)
    assert float(different.auxiliary[0].detach()) == pytest.approx(4 * 1.0, abs=1e-3)
    assert float(same.auxiliary[0].detach()) == pytest.approx(4 * 4.0, abs=1e-2)


def test_a_document_adds_the_same_wherever_it_stands():
    block, x = filled(experts=5), torch.randn(1, 9, 12, dtype=torch.float64)
    documents = torch.tensor([[7] * 4 + [3] * 5])
    packed = context(documents)
    block(x, packed)
    alone = []
    for part in (slice(0, 4), slice(4, 9)):
        alone.append(context(length=x[:, part].shape[1]))
        block(x[:, part], alone[-1])
    assert torch.allclose(packed.auxiliary[0], alone[0].auxiliary[0] + alone[1].auxiliary[0], atol=1e-12)


def test_tokens_that_do_not_count_add_nothing():
    block, x = filled(experts=5), torch.randn(1, 9, 12, dtype=torch.float64)
    some, fewer, padded = context(), context(length=6), context(torch.tensor([[0] * 6 + [-1] * 3]))
    some.counted = torch.tensor([[True] * 6 + [False] * 3])
    for here, part in ((some, x), (fewer, x[:, :6]), (padded, x)):
        block(part, here)
        assert torch.allclose(here.auxiliary[0], fewer.auxiliary[0] if fewer.auxiliary else here.auxiliary[0], atol=1e-12)
    assert torch.allclose(some.auxiliary[0], fewer.auxiliary[0], atol=1e-12)


def test_runs_are_counted_over_all_rows():
    assert document_runs(torch.tensor([[1, 1, 2], [2, 2, 2]])).tolist() == [[0, 0, 1], [2, 2, 2]]


FIELDS = {
    "kind": "decoder", "vocab": 30, "dim": 12, "depth": 2, "context": 16, "positions": "rotary", "mixer": {"kind": "attention", "heads": 2},
    "feedforward": {"kind": "moe", "experts": 6, "hidden": 8, "balance": 0.5, "z_loss": 0.1},
}


def model_of(fields):
    model = DecoderConfig.parse(fields).build()
    draws = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=draws)
    model.double().compute_dtype = torch.float64
    return model


def loss_of(model, batch, objective=None) -> Loss:
    return (objective or NextToken()).loss(model, lambda b, counted: model(tokens=b["tokens"], documents=b.get("documents"), counted=counted), batch, Phase("main"))


def test_training_adds_it_and_evaluation_does_not():
    model, batch = model_of(FIELDS), {"tokens": torch.randint(30, (3, 10))}
    learning, looking = loss_of(model.train(), batch), loss_of(model.eval(), batch)
    extra = learning.metrics["auxiliary"][0]
    assert float(extra) > 0 and not looking.metrics
    assert torch.allclose(learning.total - looking.total, extra)
    assert torch.allclose(extra, model(tokens=batch["tokens"][:, :-1])["auxiliary"].sum())
    without = model_of({**FIELDS, "feedforward": {**FIELDS["feedforward"], "balance": 0.0, "z_loss": 0.0}}).train()
    assert "auxiliary" not in without(tokens=batch["tokens"]) and "auxiliary" not in without.config.ports().gives
    assert torch.allclose(loss_of(without, batch).total, looking.total)


def test_micro_batches_and_packing_add_up():
    model = model_of(FIELDS).train()
    tokens = torch.randint(30, (4, 11))
    documents = torch.tensor([[0] * 5 + [1] * 6, [2] * 11, [3] * 2 + [4] * 9, [5] * 8 + [-1] * 3])

    def gradients(parts):
        losses = [loss_of(model, {"tokens": tokens[rows], "documents": numbers}) for rows, numbers in parts]
        total, count = sum(loss.total for loss in losses), sum(float(loss.count) for loss in losses)
        return count, torch.autograd.grad(total, list(model.parameters()))

    whole = gradients([(slice(0, 4), documents)])
    split = gradients([(slice(0, 1), documents[:1]), (slice(1, 4), documents[1:])])
    each = [(i, n) for i in range(4) for n in documents[i].unique().tolist() if n >= 0]
    padded = gradients([(slice(i, i + 1), torch.where(documents[i] == n, n, -1)[None]) for i, n in each])
    losses = [loss_of(model, {"tokens": tokens[i, documents[i] == n][None]}) for i, n in each]
    unpacked = sum(float(loss.count) for loss in losses), torch.autograd.grad(sum(loss.total for loss in losses), list(model.parameters()))
    for other in (split, padded, unpacked):
        assert other[0] == whole[0]
        for a, b in zip(other[1], whole[1], strict=True):
            assert torch.allclose(a, b, atol=1e-10)


def test_masked_counts_the_chosen_tokens():
    model = model_of({**FIELDS, "mixer": {"kind": "attention", "heads": 2, "causal": False}}).train()
    tokens = torch.randint(30, (3, 8))
    chosen = torch.rand(3, 8) < 0.4
    chosen[:, 0] = True
    loss = loss_of(model, {"tokens": tokens, "targets": tokens, "chosen": chosen}, Masked())
    assert torch.allclose(loss.metrics["auxiliary"][0], model(tokens=tokens, counted=chosen)["auxiliary"].sum())


def test_more_active_than_there_are_is_refused():
    with pytest.raises(ValueError, match="active 3 must be at most experts 2"):
        MoE(8, experts=2, active=3)
