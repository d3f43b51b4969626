import pytest
import torch
from torch import nn

from ftheta.training.optimizers.adamw import AdamW
from ftheta.training.optimizers.muon import Muon, orthogonalise, role
from ftheta.training.optimizers.optimizer import restore_state, set_factor, state_tensors
from ftheta.training.optimizers.sgd import SGD


def model():
    torch.manual_seed(0)
    return nn.ModuleDict({"embed": nn.Embedding(7, 8), "layer": nn.Linear(8, 8), "norm": nn.LayerNorm(8), "head": nn.Linear(8, 7, bias=False)})


def step(net, optimizers):
    net["head"](net["norm"](net["layer"](net["embed"](torch.arange(7))))).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def test_orthogonalise_brings_singular_values_near_one():
    for shape in ((3, 16, 16), (2, 32, 8), (1, 8, 40)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(*shape, generator=torch.Generator().manual_seed(1)).double()))
        assert values.min() > 0.8 and values.max() < 1.2


def test_muon_moves_hidden_matrices_by_their_polar_factor():
    net = model()
    optimizers = Muon(rate=0.1, momentum=0.0).build(list(net.named_parameters()))
    before = net["layer"].weight.detach().clone()
    gradient = torch.randn(8, 8)
    net["layer"].weight.grad = gradient.clone()
    optimizers[0].step()
    u, _, v = torch.linalg.svd(gradient)
    assert torch.allclose((before - net["layer"].weight) / 0.1, u @ v, atol=0.25)


def test_muon_takes_a_convolution_as_the_matrix_of_its_kernels():
    kernels = torch.nn.Conv2d(3, 8, 2, bias=False).weight
    weight = torch.nn.Parameter(kernels.detach().flatten(1).clone())
    gradient = torch.randn(8, 3, 2, 2)
    for parameter, own in ((kernels, gradient), (weight, gradient.flatten(1))):
        parameter.grad = own.clone()
        for _ in range(2):
            Muon(rate=0.1, decay=0.1).build([("layer.weight", parameter)])[0].step()
    assert torch.allclose(kernels.flatten(1), weight, atol=1e-7)


def test_roles():
    roles = {name: role(name, parameter) for name, parameter in model().named_parameters()}
    assert role("stem.weight", torch.nn.Conv2d(1, 2, 3).weight) == "hidden"                 # type: ignore[arg-type]
    assert roles == {"embed.weight": "embed", "layer.weight": "hidden", "layer.bias": "vector", "norm.weight": "vector", "norm.bias": "vector", "head.weight": "head"}


@pytest.mark.parametrize("config", [AdamW(decay=0.1), Muon(decay=0.1), SGD(decay=0.1)])
def test_state_round_trips_bit_equal(config):
    nets = [model(), model()]
    sets = [config.build(list(net.named_parameters())) for net in nets]
    names = [{p: n for n, p in net.named_parameters()} for net in nets]
    for _ in range(3):
        step(nets[0], sets[0])
    nets[1].load_state_dict(nets[0].state_dict())
    restore_state(sets[1], names[1], state_tensors(sets[0], names[0]))
    for net, optimizers in zip(nets, sets, strict=True):
        step(net, optimizers)
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


@pytest.mark.parametrize("config", [AdamW(decay=0.5), SGD(decay=0.5)])
def test_vectors_are_never_decayed(config):
    groups = [group for optimizer in config.build(list(model().named_parameters())) for group in optimizer.param_groups]
    assert {group["weight_decay"]: {p.ndim for p in group["params"]} for group in groups} == {0.5: {2}, 0.0: {1}}


def test_factor_scales_the_base_rate_every_time():
    (optimizer,) = SGD(rate=2.0).build(list(model().named_parameters()))
    for factor in (0.5, 0.25):
        set_factor(optimizer, factor)
        assert all(group["lr"] == 2.0 * factor for group in optimizer.param_groups)
