import pytest
import torch
from torch.nn import functional as F

from ftheta.blocks.head import Head, TransformedHead


@pytest.mark.parametrize("softcap", [None, 7.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [7, 64, 1000])
def test_chunked_loss_and_gradients_equal_whole_logits(softcap, smoothing, chunk):
    torch.manual_seed(0)
    head = Head(16, 50, softcap=softcap).double()
    torch.nn.init.normal_(head.weight)
    hidden = torch.randn(100, 16, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.randint(50, (100,)), torch.rand(100, dtype=torch.float64)

    def run(loss):
        hidden.grad = head.weight.grad = None
        (3 * loss).backward()
        return loss.detach(), hidden.grad.clone(), head.weight.grad.clone()

    ours = run(head.loss(hidden, targets, weights, chunk, smoothing))
    theirs = run((F.cross_entropy(head(hidden).double(), targets, reduction="none", label_smoothing=smoothing) * weights).sum())
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("make", [lambda: Head(16, 50, bias=True), lambda: TransformedHead(16, 50), lambda: TransformedHead(16, 50, softcap=5.0, bias=False, activation="relu")])
@pytest.mark.parametrize("chunk", [7, 1000])
def test_every_parameter_of_every_head_gets_the_whole_gradient(make, chunk):
    torch.manual_seed(0)
    head = make().double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    hidden = torch.randn(100, 16, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.randint(50, (100,)), torch.rand(100, dtype=torch.float64)
    wanted = [hidden, *head.parameters()]
    ours = torch.autograd.grad(2 * head.loss(hidden, targets, weights, chunk), wanted)
    theirs = torch.autograd.grad(2 * (F.cross_entropy(head(hidden), targets, reduction="none") * weights).sum(), wanted)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-10) and b.abs().sum() > 0


def test_a_bias_learns_alone():
    head = Head(8, 20, bias=True)
    torch.nn.init.normal_(head.weight.requires_grad_(False))
    (grad,) = torch.autograd.grad(head.loss(torch.randn(5, 8), torch.zeros(5, dtype=torch.long)), [head.bias])
    assert float(grad[0]) < 0 and abs(float(grad.sum())) < 1e-5


def test_bfloat16_is_close():
    torch.manual_seed(0)
    head = Head(32, 300)
    torch.nn.init.normal_(head.weight, std=0.2)
    hidden, targets = torch.randn(400, 32), torch.randint(300, (400,))
    for smoothing in (0.0, 0.1):
        exact, rough = head.loss(hidden, targets, smoothing=smoothing), head.loss(hidden.bfloat16(), targets, smoothing=smoothing)
        assert abs(float(rough - exact)) < 2e-3 * float(exact)


def test_no_gradient_work_without_gradients():
    head = Head(8, 20).requires_grad_(False)
    torch.nn.init.normal_(head.weight)
    assert not head.loss(torch.randn(5, 8), torch.zeros(5, dtype=torch.long)).requires_grad


def test_bfloat16_gradients_are_close():
    torch.manual_seed(0)
    head = Head(32, 300, bias=True)
    torch.nn.init.normal_(head.weight, std=0.2)
    hidden, targets = torch.randn(400, 32), torch.randint(300, (400,))
    found = []
    for kind in (torch.float32, torch.bfloat16):
        leaf = hidden.to(kind).requires_grad_()
        found.append(torch.autograd.grad(head.loss(leaf, targets, chunk=128), (leaf, head.weight, head.bias)))
    for exact, rough in zip(*found, strict=True):
        assert (rough.float() - exact).norm() < 1e-2 * exact.norm()
