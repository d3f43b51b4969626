"""ResNet: published parameter counts, shapes, the first loss, and what it refuses."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from torch.nn import functional as F

from ftheta.architectures.resnet import ResNet, ResNetConfig
from ftheta.core.errors import ConfigError

PRESETS = Path(str(resources.files("ftheta.architectures"))) / "presets" / "resnet"
TINY = {"channels": 2, "classes": 7, "depths": [2, 1], "widths": [8, 12], "stem": "small", "stem_width": 8}


def preset(name: str, **fields: object) -> ResNetConfig:
    return ResNetConfig.parse({**YAML(typ="safe").load(PRESETS / f"{name}.yaml"), **fields})


def network(**fields: object) -> ResNet:
    model = ResNetConfig.parse({**TINY, **fields}).build()
    model.initialise(0)
    return model


# He et al. 2015 as torchvision counts them
@pytest.mark.parametrize("name, count", [("18", 11_689_512), ("34", 21_797_672), ("50", 25_557_032), ("101", 44_549_160), ("152", 60_192_808)])
def test_parameter_counts_are_the_published_ones(name: str, count: int) -> None:
    with torch.device("meta"):
        model = preset(name, channels=3, classes=1000).build()
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_every_preset_builds() -> None:
    known = {"18", "34", "50", "101", "152", "digits", "cifar-fast", *(f"cifar-{depth}" for depth in (20, 32, 44, 56, 110))}
    known |= {f"resnext-{n}" for n in ("50-32x4d", "101-32x8d", "101-64x4d")}
    assert {path.stem for path in PRESETS.glob("*.yaml")} == known
    digits = preset("digits", channels=1, classes=10).build()
    assert sum(parameter.numel() for parameter in digits.parameters()) == 308_074
    digits.initialise(0)
    assert digits(image=torch.rand(2, 1, 8, 8))["logits"].shape == (2, 10)


@pytest.mark.parametrize("stem, downsample, heights", [("small", False, (19, 10)), ("small", True, (10, 5)), ("imagenet", False, (5, 3)), ("imagenet", True, (3, 2))])
def test_ports_are_true_and_every_stage_halves(stem: str, downsample: bool, heights: tuple[int, int]) -> None:
    model = network(stem=stem, downsample_first=downsample).eval()
    seen = []
    for stage in model.stages:
        stage.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    outputs = model(image=torch.rand(3, 2, 19, 19))
    assert seen == [(3, 8, heights[0], heights[0]), (3, 12, heights[1], heights[1])]
    assert outputs["features"].shape == (3, 12) and outputs["logits"].shape == (3, 7)
    sizes = model.config.ports().sizes
    assert (sizes["C"], sizes["K"], sizes["D"]) == (2, 7, 12)


def test_batch_coupled_is_declared_and_true() -> None:
    model = network()
    assert "batch_coupled" in model.config.ports().traits
    images = torch.rand(4, 2, 8, 8)
    for parameter in model.parameters():                                                  # past the start, where layers do nothing
        torch.nn.init.normal_(parameter, std=0.5)
    model.train()
    assert not torch.allclose(model(image=images)["logits"][:2], model(image=images[:2])["logits"], atol=1e-3)
    model.eval()
    torch.testing.assert_close(model(image=images)["logits"][:2], model(image=images[:2])["logits"])


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_first_loss_is_ln_k_and_layers_start_as_the_identity(block: str) -> None:
    model = network(block=block, widths=[8, 16], depths=[3, 2])
    images, labels = torch.rand(64, 2, 8, 8), torch.randint(7, (64,))
    outputs = model(image=images)
    assert abs(F.cross_entropy(outputs["logits"], labels).item() - math.log(7)) < 0.02
    hidden = model.stem(images)
    torch.testing.assert_close(model.stages[0](hidden), hidden)                           # relu(x + 0) of x ≥ 0
    outputs["logits"].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_initialise_sets_everything_from_the_seed_alone() -> None:
    a, b, other = network(), network(), network()
    with torch.device("meta"):
        c = ResNetConfig.parse(TINY).build()
    c.to_empty(device="cpu")
    for value in c.theta().values():
        value.fill_(9)
    c.initialise(0)
    other.initialise(1)
    for name, value in a.theta().items():
        assert torch.equal(value, b.theta()[name]) and torch.equal(value, c.theta()[name]), name
    assert not torch.equal(a.stem.convolution.weight, other.stem.convolution.weight)


def test_a_padded_shortcut_is_option_a_and_groups_do_not_mix() -> None:
    """Every second pixel, channels of zeros around; a bottleneck in g groups is g bottlenecks side by side, but for its ends."""
    model = network(shortcut="pad", widths=[8, 13], depths=[1, 1]).eval()
    skip = model.stages[1][0].skip
    x = torch.randn(2, 8, 9, 8)
    expected = torch.zeros(2, 13, 5, 4)
    expected[:, 2:10] = x[:, :, ::2, ::2]
    assert torch.equal(skip(x), expected) and not list(skip.parameters())
    wide = network(block="bottleneck", groups=2, narrower=2, widths=[8, 16]).stages[1][0].inner[1].convolution
    assert wide.weight.shape == (8, 4, 3, 3) and wide.groups == 2
    halves = [F.conv2d(part, weight, stride=2, padding=1) for part, weight in zip(x[:, :8].chunk(2, 1), wide.weight.chunk(2), strict=True)]
    torch.testing.assert_close(wide(x[:, :8]), torch.cat(halves, dim=1))


def test_overfits_one_batch() -> None:
    model = network()
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(16, 2, 8, 8, generator=generator), torch.randint(7, (16,), generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(70):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(image=images)["logits"], labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


def test_bfloat16_is_close_and_keeps_gradients_in_float32() -> None:
    model = network(depths=[1, 1])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.rand(8, 2, 8, 8)
    exact = model(image=images)["logits"]
    model.compute_dtype = torch.bfloat16
    logits = model(image=images)["logits"]
    assert logits.dtype == torch.bfloat16
    assert (logits - exact).abs().max() < 0.1 * exact.abs().max()
    logits.float().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"depths": [1, 1, 1]}, "depths names 3 stages and widths 2"), ({"widths": [8, 0]}, "at least 1"),
        ({"block": "bottleneck", "widths": [8, 10]}, "multiples of 4"),
        ({"block": "bottleneck", "widths": [8, 12], "groups": 2}, r"multiples of 8 \(narrower × groups\)"), ({"groups": 2}, "choose block bottleneck"),
        ({"shortcut": "pad", "widths": [8, 4]}, "choose projection"), ({"stem": "large"}, "stem"), ({"width": [8]}, "did you mean 'widths'"),
    ],
)
def test_refuses_what_does_not_fit(fields: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ResNetConfig.parse({**TINY, **fields})
