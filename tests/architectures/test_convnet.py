"""ConvNet: published parameter counts, what peers compute from the same weights, the first loss, and what it refuses."""

from __future__ import annotations

import math
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from torch import nn
from torch.nn import functional as F

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.convnet import ConvNet, ConvNetConfig
from ftheta.core.config import Slot
from ftheta.core.errors import ConfigError, DataError
from ftheta.evaluation.probes.small import scatter

PRESETS = Path(str(resources.files("ftheta.architectures"))) / "presets"
COUNTS = {
    # torchvision's, at 3 channels and 1,000 classes
    "convnet/alexnet": 61_100_840, "convnet/vgg-11": 132_863_336, "convnet/vgg-13": 133_047_848, "convnet/vgg-16": 138_357_544, "convnet/vgg-19": 143_667_240,
    "convnet/vgg-11-bn": 132_868_840, "convnet/vgg-13-bn": 133_053_736, "convnet/vgg-16-bn": 138_365_992, "convnet/vgg-19-bn": 143_678_248,
    "convnet/mobilenet-v2": 3_504_872, "convnet/mobilenet-v3-large": 5_483_032, "convnet/mobilenet-v3-small": 2_542_856,
    "convnet/efficientnet-b0": 5_288_548, "convnet/efficientnet-b1": 7_794_184, "convnet/efficientnet-b2": 9_109_994, "convnet/efficientnet-b3": 12_233_232,
    "convnet/efficientnet-b4": 19_341_616, "convnet/efficientnet-b5": 30_389_784, "convnet/efficientnet-b6": 43_040_704, "convnet/efficientnet-b7": 66_347_960,
    **{f"convnet/mit-b{i}": count for i, count in enumerate((3_576_392, 13_664_424, 24_709_288, 44_585_128, 61_355_688, 81_956_008))},
    "convnet/convnext-tiny": 28_589_128, "convnet/convnext-small": 50_223_688, "convnet/convnext-base": 88_591_464, "convnet/convnext-large": 197_767_336,
    "resnet/resnext-50-32x4d": 25_028_904, "resnet/resnext-101-32x8d": 88_791_336, "resnet/resnext-101-64x4d": 83_455_272,
    # timm's
    "convnet/efficientnet-lite0": 4_652_008, "vit/tiny-16": 5_717_416, "vit/small-16": 22_050_664, "vit/base-16": 86_567_656, "vit/large-16": 304_326_632,
    "vit/deit-tiny-16": 5_910_800, "vit/deit-small-16": 22_436_432, "vit/deit-base-16": 87_338_192,
}
SMALL = {
    # LeCun et al. 1998 with all maps connected, at 1 channel; akamaster's, at 3; both at 10 classes
    "convnet/lenet-5": (1, 61_706), "resnet/cifar-20": (3, 269_722), "resnet/cifar-32": (3, 464_154), "resnet/cifar-44": (3, 658_586), "resnet/cifar-56": (3, 853_018),
    "resnet/cifar-110": (3, 1_727_962),
}
INVERTED: dict[str, Any] = {"kind": "inverted", "expand": 3.0, "gate": "squeeze_excite"}
TINY: dict[str, Any] = {"channels": 2, "classes": 7, "stages": [{"width": 8}, {"width": 12, "depth": 2, "reduce": 2, "layer": INVERTED}]}


def preset(name: str, channels: int, classes: int) -> Any:
    return Slot(ARCHITECTURES).parse({**YAML(typ="safe").load(PRESETS / f"{name}.yaml"), "channels": channels, "classes": classes})


def network(**fields: Any) -> ConvNet:
    model = ConvNetConfig.parse({**TINY, **fields}).build()
    model.initialise(0)
    return model


@pytest.mark.parametrize("name, channels, classes, count", [*((n, 3, 1000, c) for n, c in COUNTS.items()), *((n, ch, 10, c) for n, (ch, c) in SMALL.items())])
def test_parameter_counts_are_the_published_ones(name: str, channels: int, classes: int, count: int) -> None:
    with torch.device("meta"):
        model = preset(name, channels, classes).build()
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert f"{count:,} parameters" in (PRESETS / f"{name}.yaml").read_text()


def test_every_preset_is_counted_here_or_in_its_own_words() -> None:
    for folder in ("convnet", "vit"):
        for path in (PRESETS / folder).glob("*.yaml"):
            name = f"{folder}/{path.stem}"
            assert name in COUNTS or name in SMALL or path.stem == "digits", name
            assert path.read_text().startswith("# ") and re.search(r"^kind: ", path.read_text(), re.MULTILINE)


def test_alexnet_is_torchvisions_layer_by_layer() -> None:
    """Its own list of torch layers gives the same logits, at a tenth of the width."""
    data = YAML(typ="safe").load(PRESETS / "convnet" / "alexnet.yaml")
    for stage in data["stages"]:
        stage["width"] //= 16
    ours = ConvNetConfig.parse({**data, "channels": 3, "classes": 5, "hidden": [20, 24]}).build().eval()
    widths = [3, 4, 12, 24, 16, 16]
    layers: list[nn.Module] = []
    for i, (kernel, stride, padding, pool) in enumerate([(11, 4, 2, True), (5, 1, 2, True), (3, 1, 1, False), (3, 1, 1, False), (3, 1, 1, True)]):
        layers += [nn.Conv2d(widths[i], widths[i + 1], kernel, stride, padding), nn.ReLU(), *([nn.MaxPool2d(3, 2)] if pool else [])]
    theirs = nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(16 * 36, 20), nn.ReLU(), nn.Linear(20, 24), nn.ReLU(), nn.Linear(24, 5),
    )
    values = list(scatter(ours, 0).parameters())
    assert [tuple(v.shape) for v in values] == [tuple(p.shape) for p in theirs.parameters()]
    for mine, other in zip(values, theirs.parameters(), strict=True):
        other.data.copy_(mine)
    for size in ((224, 224), (150, 131)):
        image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(ours(image=image)["logits"], theirs(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["convnet/lenet-5", "convnet/digits"])
def test_small_presets_start_at_ln_k(name: str) -> None:
    model = preset(name, 1, 10).build()
    model.initialise(0)
    draws = torch.Generator().manual_seed(0)
    images, labels = torch.rand(64, 1, 28, 28, generator=draws), torch.randint(10, (64,), generator=draws)
    assert abs(F.cross_entropy(model(image=images)["logits"], labels).item() - math.log(10)) < 0.1


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"norm": "none"}, {"hidden": [32], "grid": 2}, {"activation": "hard_silu"},
        {"norm": "layernorm", "activation": "gelu", "stages": [{"width": 8, "depth": 2, "reduce": 2, "by": "patches", "layer": "convnext"}], "last_norm": "layernorm"},
    ],
)
def test_first_loss_is_ln_k_and_everything_learns(fields: dict[str, Any]) -> None:
    model, draws = network(**fields), torch.Generator().manual_seed(0)
    images, labels = torch.rand(64, 2, 8, 8, generator=draws), torch.randint(7, (64,), generator=draws)
    outputs = model(image=images)
    assert abs(F.cross_entropy(outputs["logits"], labels).item() - math.log(7)) < 0.1
    outputs["logits"].square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert outputs["features"].shape == (64, model.config.ports().sizes["D"])


def test_batch_coupled_is_as_the_norm_is() -> None:
    images = torch.rand(4, 2, 8, 8)
    for norm, coupled in (("batchnorm", True), ("layernorm", False), ("none", False)):
        model = scatter(network(norm=norm), 0).train()
        assert ("batch_coupled" in model.config.ports().traits) == coupled
        assert torch.allclose(model(image=images)["logits"][:2], model(image=images[:2])["logits"], atol=1e-4) != coupled


def test_layers_are_skipped_in_training_alone() -> None:
    fields = {"stages": [{"width": 8, "depth": 3, "layer": {**INVERTED, "expand": 1.0}}], "norm": "none", "skipped": 0.9, "channels": 8}
    model = scatter(network(**fields), 0)
    images = torch.rand(40, 8, 4, 4)
    assert "dropout" in model.config.ports().traits and "dropout" not in network().config.ports().traits
    torch.manual_seed(0)
    noisy = model.train()(image=images)["features"]
    plain = scatter(network(**{**fields, "skipped": 0.0}), 0).train()(image=images)["features"]
    assert torch.equal(model.eval()(image=images)["features"], plain)
    first = model.stages[0].layers[0](images)
    left = [torch.allclose(row, start) for row, start in zip(noisy, first.mean((2, 3)), strict=True)]
    assert 5 < sum(left) < 35                                                             # the second layer is skipped in 45 % of rows, the third in 90 %


def test_too_small_pictures_are_refused_with_the_size_it_needs() -> None:
    for name, smallest in (("convnet/vgg-11", 32), ("convnet/alexnet", 63), ("convnet/efficientnet-b0", 32), ("convnet/convnext-tiny", 32), ("convnet/mobilenet-v2", 1)):
        with torch.device("meta"):
            model = preset(name, 3, 10).build()
        assert model.smallest == smallest
        model.maps(torch.rand(2, 3, smallest, smallest, device="meta"))
        if smallest > 1:
            with pytest.raises(DataError, match=f"it needs {smallest}×{smallest}"):
                model.maps(torch.rand(2, 3, smallest - 1, 100, device="meta"))


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"stages": []}, "stages"), ({"stages": [{"width": 8, "layer": "convnext"}]}, "stage 0: convnext layers keep 2 channels"),
        ({"stages": [{"width": 8, "depth": 0, "reduce": 2}]}, "stage 0: without layers it gives 2 channels"), ({"stages": [{"width": 8, "layers": 2}]}, "layer"),
        ({"stages": [{"width": 8, "layer": {"kind": "inverted", "kernel": 4}}]}, "choose 3 or 5"), ({"norm": "batch"}, "batchnorm"), ({"stages": [{"width": 0}]}, "width"),
        ({"stages": [{"width": 8, "by": "max_pol"}]}, "max_pool"),
    ],
)
def test_refuses_what_does_not_fit(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ConvNetConfig.parse({**TINY, **fields})
