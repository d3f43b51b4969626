"""Affine maps and convolutions with what follows them, in one pass: what they give is the formula's, to the rounding of bfloat16."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ftheta.architectures.resnet import ResNetConfig
from ftheta.blocks.activation import activate
from ftheta.blocks.convolution import PaddedConv2d
from ftheta.blocks.fused import AFTER, convolution, fuses, linear, pack, packed
from ftheta.blocks.linear import Linear, activated, affine
from ftheta.core.device import fast_bfloat16

here = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and fast_bfloat16(torch.device("cpu"))), reason="torch has no oneDNN here, or the processor no bfloat16",
)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64).bfloat16()


def close(found: torch.Tensor, exact: torch.Tensor) -> bool:
    return found.dtype == torch.bfloat16 and float((found.double() - exact).abs().max()) <= 2**-7 * float(exact.abs().max())


@here
@pytest.mark.parametrize("name", AFTER)
def test_linear(name):
    x, weight, bias = drawn(2, 5, 24), drawn(40, 24), drawn(40)
    for given in (bias, None):
        exact = F.linear(x.double(), weight.double(), None if given is None else given.double())
        assert close(linear(x, weight, given, name), exact if name is None else activate(name, exact))


@here
@pytest.mark.parametrize("shape", [(512, 384), (384, 512), (4, 40_000)])
def test_a_packed_weight(shape):
    """It gives what the weight gives, to rounding, also when the weight is written into, and in float32 there is none."""
    weight, x = nn.Parameter(drawn(*shape), requires_grad=False), drawn(70, shape[1])
    pack(weight)
    for _ in range(2):
        assert packed(weight) is not None and torch.equal(packed(weight).to_dense(), weight)
        exact = F.linear(x.double(), weight.double())
        for rows in (1, 3, 70):
            assert close(linear(x[:rows], weight, None), exact[:rows])
            with torch.no_grad():
                assert close(affine(x[:rows], weight), exact[:rows])
        weight.mul_(-1.5)
    weight.data = weight.data.float()
    pack(weight)
    assert packed(weight) is None


def test_small_weights_are_not_packed():
    weight = drawn(64, 64)
    pack(weight)
    assert packed(weight) is None


@here
@pytest.mark.parametrize("name", AFTER)
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize(("stride", "groups", "kernel", "side"), [(1, 1, 3, 9), (2, 1, 3, 7), (1, 4, 3, 9), (1, 1, 1, 5), (1, 1, 1, 1), (2, 1, 3, 2)])
def test_convolution(name, stride, groups, kernel, side, order):
    like = PaddedConv2d(8, 16, kernel, stride, groups=groups)
    x, weight, bias = drawn(2, 8, side, side).to(memory_format=order), drawn(*like.weight.shape), drawn(16)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), stride, kernel // 2, 1, groups)
    added = drawn(*exact.shape).to(memory_format=order)
    for more in (None, added):
        y = exact if more is None else exact + more.double()
        assert close(convolution(x, weight, bias, like, name, more), y if name is None else activate(name, y))


def test_a_layer_and_its_activation(monkeypatch):
    """However it is computed, and whatever stands in a linear map's place."""
    layer, x = Linear(24, 40), drawn(3, 24)
    exact = F.gelu(F.linear(x.double(), layer.weight.double(), layer.bias.double()))
    with torch.no_grad():
        assert close(activated("gelu", layer, x), exact) and close(activated("gelu", nn.Sequential(layer), x), exact)
    assert activated("gelu", layer, x).requires_grad and not fuses(x)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_residual_network_gives_the_same_with_and_without(block):
    model = ResNetConfig.parse({"channels": 3, "classes": 5, "depths": [2, 1], "widths": [16, 32], "stem_width": 16, "stem": "small", "block": block}).build()
    model.initialise(0)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.data.fill_(0.7)
    image = torch.rand(2, 3, 17, 15)
    exact = model.eval()(image=image)["logits"].detach()
    model.compute_dtype = torch.bfloat16
    with torch.no_grad():
        narrow = model(image=image)["logits"]
    learning = model(image=image)["logits"].detach()
    assert float((narrow - exact).abs().max()) < 0.03 * float(exact.abs().max()) and float((learning - exact).abs().max()) < 0.03 * float(exact.abs().max())
