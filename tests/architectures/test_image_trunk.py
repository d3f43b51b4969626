"""Every architecture that looks at pictures gives its maps by name, as large and as wide as its config says without weights."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.image_trunk import ImageTrunk, ImageTrunkConfig
from ftheta.core.config import Slot
from ftheta.evaluation.probes.small import scatter

PRESETS = Path(str(resources.files("ftheta.architectures"))) / "presets"
TRUNKS = [name for name in ARCHITECTURES.names() if issubclass(ARCHITECTURES.load(name), ImageTrunkConfig)]
FILES = sorted(path for name in TRUNKS for path in (PRESETS / name).glob("*.yaml"))
FIVE = ["stride_2", "stride_4", "stride_8", "stride_16", "stride_32"]
LEVELS = {
    "resnet/50": FIVE, "resnet/cifar-20": ["stride_1", "stride_2", "stride_4"], "convnet/vgg-16": ["stride_1", *FIVE], "convnet/mobilenet-v2": FIVE,
    "convnet/mobilenet-v3-small": FIVE, "convnet/efficientnet-b0": FIVE, "convnet/convnext-tiny": FIVE[1:], "vit/base-16": ["stride_16"],
}


def parsed(path: Path) -> Any:
    return Slot(ARCHITECTURES).parse({**YAML(typ="safe").load(path), "channels": 3, "classes": 10})


def test_all_that_take_pictures_and_give_classes_are_trunks() -> None:
    assert TRUNKS == ["convnet", "resnet", "vit"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_maps_are_as_the_config_says(path: Path) -> None:
    config = parsed(path)
    with torch.device("meta"):
        model = config.build()
    for height, width in ((224, 224), (160, 352)):
        found = model.maps(torch.rand(2, 3, height, width, device="meta"))
        assert list(found) == list(config.levels()) == LEVELS.get(f"{path.parent.name}/{path.stem}", list(found))
        strides = [level.stride for level in config.levels().values()]
        assert strides == sorted(set(strides))
        for name, level in config.levels().items():
            rows, columns = found[name].shape[2:]
            assert found[name].shape[:2] == (2, level.channels)
            if path.stem == "alexnet":                                                    # its pools put nothing around maps
                assert 0 <= height / level.stride - rows <= 1 and 0 <= width / level.stride - columns <= 1
            elif path.stem == "lenet-5":                                                  # nor do its convolutions
                assert 0 <= height / level.stride - rows <= 6
            else:
                assert (rows, columns) == (height // level.stride, width // level.stride)


SMALL: dict[str, dict[str, Any]] = {
    "convnet": {"norm": "layernorm", "stages": [
        {"width": 4}, {"width": 6, "depth": 2, "reduce": 2, "layer": "inverted"}, {"width": 6, "depth": 1}, {"width": 5, "reduce": 2, "by": "max_pool"},
    ]},
    "resnet": {"depths": [1, 2], "widths": [4, 6], "stem_width": 4},
    "vit": {"stem": {"kind": "patches", "size": 4}, "dim": 8, "depth": 1, "mixer": {"kind": "attention", "heads": 2}, "height": 32, "width": 32},
}


def small(kind: str) -> ImageTrunk:
    return scatter(Slot(ARCHITECTURES).parse({"kind": kind, "channels": 2, "classes": 3, **SMALL[kind]}).build(), 0).eval()        # type: ignore[union-attr]


@pytest.mark.parametrize("kind", TRUNKS)
def test_answers_come_from_the_last_map(kind: str) -> None:
    model, image = small(kind), torch.rand(2, 2, 32, 32)
    last = list(model.maps(image).values())[-1]
    outputs = model(image=image)
    if kind != "vit":
        torch.testing.assert_close(outputs["features"], last.mean((2, 3)))
        torch.testing.assert_close(outputs["logits"], model.head(last.mean((2, 3))))      # type: ignore[operator]
    else:
        hidden, _ = model.encoded(image)                                                  # type: ignore[operator]
        torch.testing.assert_close(last.flatten(2).transpose(1, 2), hidden[:, 1:])
        torch.testing.assert_close(outputs["logits"], model.head(hidden[:, 0]))           # type: ignore[operator]


@pytest.mark.parametrize("kind", ["convnet", "resnet"])
def test_strides_are_true(kind: str) -> None:
    """A picture moved by the stride gives a map moved by one pixel, away from the borders."""
    model, image = small(kind), torch.rand(1, 2, 32, 192)
    before = model.maps(image)
    for name, level in model.config.levels().items():
        after = model.maps(image.roll(level.stride, dims=3))[name]
        edge = -(-64 // level.stride)
        torch.testing.assert_close(after[..., edge + 1 : -edge], before[name][..., edge : -edge - 1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", TRUNKS)
def test_every_map_has_a_gradient_to_the_picture(kind: str) -> None:
    model, image = small(kind), torch.rand(1, 2, 32, 32, requires_grad=True)
    for found in model.maps(image).values():
        (gradient,) = torch.autograd.grad(found.square().sum(), image, retain_graph=True)
        assert gradient.abs().sum() > 0
