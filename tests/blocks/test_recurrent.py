import pytest
import torch

from ftheta.blocks.context import Cache, Context
from ftheta.blocks.recurrent import GRU, LSTM


def context(documents=None, cache=None, length=1):
    return Context(torch.arange(length)[None], documents, cache)


@pytest.mark.parametrize("cls", [LSTM, GRU])
def test_documents_start_from_zero_state_and_state_is_carried(cls):
    block = cls(6, hidden=10).double()
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    plain = block.output(block.rnn(x)[0])
    assert torch.allclose(block(x, context()), plain, atol=1e-12)

    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2], [0] * 9])
    together = block(x, context(documents))
    assert torch.allclose(together[1], plain[1], atol=1e-12)
    for part in (slice(0, 3), slice(3, 7), slice(7, 9)):
        assert torch.allclose(together[:1, part], block(x[:1, part], context()), atol=1e-12)

    cache = Cache()
    pieces = [block(x[:, a:b], context(cache=cache)) for a, b in ((0, 4), (4, 5), (5, 9))]
    assert torch.allclose(torch.cat(pieces, 1), plain, atol=1e-12)


@pytest.mark.parametrize("cls", [LSTM, GRU])
@pytest.mark.parametrize("both", [False, True])
def test_the_formula_that_is_exported_is_what_torch_computes(cls, both):
    block = cls(6, hidden=10, bidirectional=both).double()
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2], [0, 0, 0, 0, 0, -1, -1, -1, -1]])
    assert torch.allclose(block.repeated(x, documents), block.by_document(x, documents), atol=1e-12)


@pytest.mark.parametrize("cls", [LSTM, GRU])
def test_padding_does_not_move_the_state(cls):
    block = cls(6).double()
    x = torch.randn(1, 5, 6, dtype=torch.float64)
    padded = torch.cat([torch.randn(1, 3, 6, dtype=torch.float64), x], 1)
    result = block(padded, context(torch.tensor([[-1, -1, -1, 0, 0, 0, 0, 0]]), Cache()))
    assert torch.allclose(result[:, 3:], block(x, context()), atol=1e-12)


@pytest.mark.parametrize("cls", [LSTM, GRU])
def test_both_ways_each_document_is_read_from_its_own_end(cls):
    block = cls(6, hidden=10, bidirectional=True).double()
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    half = one_way(block)
    alone = [torch.cat([half(part, name) for name in ("l0", "l0_reverse")], -1) for part in (x[:1, :3], x[:1, 3:7], x[:1, 7:], x[1:, 2:])]
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2], [-1] * 2 + [0] * 7])
    found = block(x, context(documents))
    assert torch.allclose(found[:1], block.output(torch.cat(alone[:3], 1)), atol=1e-12)
    assert torch.allclose(found[1:, 2:], block.output(alone[3]), atol=1e-12)


def one_way(block):
    """A network of one direction with this block's weights: (1, T, D) and which → (1, T, hidden)."""
    def run(x, name):
        plain = type(block.rnn)(6, 10, batch_first=True).double()
        plain.load_state_dict({f"{key}_l0": getattr(block.rnn, f"{key}_{name}") for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")})
        return plain(x)[0] if name == "l0" else plain(x.flip(1))[0].flip(1)
    return run
