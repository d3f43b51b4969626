import pytest
import torch
from torch.nn import functional as F

from ftheta.blocks.head import Head


@pytest.mark.parametrize("softcap", [None, 7.0])
@pytest.mark.parametrize("chunk", [7, 64, 1000])
def test_chunked_loss_and_gradients_equal_whole_logits(softcap, chunk):
    torch.manual_seed(0)
    head = Head(16, 50, softcap=softcap).double()
    torch.nn.init.normal_(head.weight)
    hidden = torch.randn(100, 16, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.randint(50, (100,)), torch.rand(100, dtype=torch.float64)

    def run(loss):
        hidden.grad = head.weight.grad = None
        (3 * loss).backward()
        return loss.detach(), hidden.grad.clone(), head.weight.grad.clone()

    ours = run(head.loss(hidden, targets, weights, chunk))
    theirs = run((F.cross_entropy(head(hidden).double(), targets, reduction="none") * weights).sum())
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)


def test_bfloat16_is_close():
    torch.manual_seed(0)
    head = Head(32, 300)
    torch.nn.init.normal_(head.weight, std=0.2)
    hidden, targets = torch.randn(400, 32), torch.randint(300, (400,))
    exact, rough = head.loss(hidden, targets), head.loss(hidden.bfloat16(), targets)
    assert abs(float(rough - exact)) < 2e-3 * float(exact)


def test_no_gradient_work_without_gradients():
    head = Head(8, 20).requires_grad_(False)
    torch.nn.init.normal_(head.weight)
    assert not head.loss(torch.randn(5, 8), torch.zeros(5, dtype=torch.long)).requires_grad


def test_bfloat16_gradients_are_close():
    torch.manual_seed(0)
    head = Head(32, 300)
    torch.nn.init.normal_(head.weight, std=0.2)
    hidden, targets = torch.randn(400, 32), torch.randint(300, (400,))
    found = []
    for kind in (torch.float32, torch.bfloat16):
        leaf = hidden.to(kind).requires_grad_()
        found.append(torch.autograd.grad(head.loss(leaf, targets, chunk=128), (leaf, head.weight)))
    for exact, rough in zip(*found, strict=True):
        assert (rough.float() - exact).norm() < 1e-2 * exact.norm()
