import pytest
import torch

from ftheta.blocks import ssm
from ftheta.blocks.context import Cache, Context
from ftheta.blocks.ssm import CHUNK, SSM, scan


def block(**arguments) -> SSM:
    made = SSM(6, **{"heads": 4, "state": 5, **arguments}).double()
    for i, parameter in enumerate(made.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64) * 0.5
    return made


def context(documents=None, cache=None, length=1):
    return Context(torch.arange(length)[None], documents, cache)


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


def naive(mixer: SSM, x, documents=None):
    """The recurrence as it stands in the paper, a token and a head at a time."""
    inner, n, groups, heads = mixer.inner, mixer.state, mixer.groups, mixer.scans
    rows = []
    for row in range(len(x)):
        numbers = [0] * x.shape[1] if documents is None else documents[row].tolist()
        mapped = x[row] @ mixer.input.weight.T + (0 if mixer.input.bias is None else mixer.input.bias)
        gate, read, step = mapped.split([inner, mixer.width, heads], -1)
        h, out, start = torch.zeros(heads, inner // heads, n, dtype=x.dtype), [], 0
        for t in range(x.shape[1]):
            if t and numbers[t] != numbers[t - 1]:
                start, h = t, torch.zeros_like(h)
            mixed = torch.zeros(mixer.width, dtype=x.dtype) if mixer.kernel_bias is None else mixer.kernel_bias
            for back in range(mixer.kernel):
                if t - back >= start:
                    mixed = mixed + mixer.kernel_weight[:, 0, mixer.kernel - 1 - back] * read[t - back]
            values, b, c = (mixed * mixed.sigmoid()).split([inner, groups * n, groups * n])
            values, b, c = values.view(heads, -1), b.view(groups, n), c.view(groups, n)
            y = []
            for head in range(heads):
                delta = torch.log1p((step[t, head] + mixer.step[head]).exp())
                group = head // (heads // groups)
                new = torch.exp(-delta * mixer.rate[head].exp()) * h[head] + delta * values[head][:, None] * b[group][None]
                h = torch.cat([h[:head], new[None], h[head + 1 :]])
                y.append(new @ c[group] + mixer.skip[head] * values[head])
            y = torch.cat(y) * gate[t] * gate[t].sigmoid()
            y = torch.cat([part / (part.square().mean() + mixer.eps).sqrt() for part in y.chunk(groups)]) * mixer.norm_weight
            out.append(y @ mixer.output.weight.T + (0 if mixer.output.bias is None else mixer.output.bias))
        rows.append(torch.stack(out))
    return torch.stack(rows)


DOCUMENTS = torch.tensor([[0] * 5 + [1] * 1 + [2] * 9 + [-1] * 4, [0] * 19, [-1] * 6 + [0] * 8 + [1] * 5])


@pytest.mark.parametrize("arguments", [{}, {"groups": 2, "bias": True}, {"kernel": 1, "kernel_bias": False, "head_dim": 3}, {"groups": 4, "kernel": 2}])
@pytest.mark.parametrize("chunk", [64, 4, 1])
@pytest.mark.parametrize("documents", [None, DOCUMENTS])
def test_chunks_are_the_recurrence(arguments, chunk, documents, monkeypatch):
    monkeypatch.setattr(ssm, "CHUNK", chunk)
    mixer, x = block(**arguments), drawn(3, 19, 6).requires_grad_()
    ours, theirs = mixer(x, context(documents)), naive(mixer, x, documents)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)
    weight = drawn(*ours.shape)
    gradients = [torch.autograd.grad((y * weight).sum(), [x, *mixer.parameters()]) for y in (ours, theirs)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("chunk", [64, 4])
@pytest.mark.parametrize("documents", [None, DOCUMENTS])
def test_what_is_remembered_goes_on_as_the_whole(documents, chunk, monkeypatch):
    monkeypatch.setattr(ssm, "CHUNK", chunk)
    mixer, x = block(), drawn(3, 19, 6)
    whole, cache, pieces = mixer(x, context(documents)), Cache(), []
    for first, last in ((0, 2), (2, 3), (3, 12), (12, 13), (13, 19)):
        part = None if documents is None else documents[:, first:last]
        pieces.append(mixer(x[:, first:last], context(part, cache)))
        cache.length = last
        cache.documents = None if documents is None else documents[:, :last]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-11)


def test_padding_is_inert():
    mixer, x = block(), drawn(2, 9, 6)
    documents = torch.tensor([[-1] * 4 + [0] * 5, [0] * 6 + [-1] * 3])
    found = mixer(x, context(documents))
    torch.testing.assert_close(found[:1, 4:], mixer(x[:1, 4:], context()), rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1:, :6], mixer(x[1:, :6], context()), rtol=0, atol=1e-12)
    changed = torch.where((documents < 0)[..., None], 100.0, x)
    assert torch.equal(mixer(changed, context(documents))[documents >= 0], found[documents >= 0])


def test_long_fast_fading_states_stay_finite():
    x, decay = drawn(1, 300, 2, 3), torch.full((1, 300, 2), -80.0, dtype=torch.float64)
    b, c = drawn(1, 300, 1, 4), drawn(1, 300, 1, 4).requires_grad_()
    y, state = scan(x, decay, b, c, None, None)
    torch.testing.assert_close(y, x * (b * c).sum(-1)[..., None], rtol=0, atol=1e-11)       # nothing is left of the token before
    y.sum().backward()
    assert state.isfinite().all() and c.grad is not None and c.grad.isfinite().all()


@pytest.mark.parametrize(("arguments", "said"), [({"heads": 5}, "multiple of heads 5"), ({"groups": 3}, "multiple of groups 3")])
def test_sizes_that_do_not_go_together(arguments, said):
    with pytest.raises(ValueError, match=said):
        block(**arguments)


@pytest.mark.parametrize("documents", [None, torch.arange(150).div(40, rounding_mode="floor")[None].expand(2, -1)], ids=["one", "several"])
def test_long_rows_are_worked_out_anew_and_learn_the_same(documents, monkeypatch):
    mixer, x = block(), drawn(2, 150, 6)

    def learned() -> tuple[list[torch.Tensor], bool]:
        """Outputs and gradients, and whether anything of chunk × chunk numbers was kept."""
        shapes: list[torch.Size] = []
        mixer.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(lambda kept: shapes.append(kept.shape) or kept, lambda kept: kept):
            y = mixer(x, context(documents, length=150))
        y.square().sum().backward()
        return [y.detach(), *(parameter.grad.clone() for parameter in mixer.parameters())], any(shape[-2:] == (CHUNK, CHUNK) for shape in shapes)

    kept, whole = learned()
    monkeypatch.setattr(ssm, "LONG", 149)
    anew, chunks = learned()
    assert whole and not chunks
    assert all(torch.equal(a, b) for a, b in zip(kept, anew, strict=True))
