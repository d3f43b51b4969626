"""The head on all maps of any trunk, and the transformer's layers on maps that it was made for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ftheta.architectures.convnet import ConvNetConfig
from ftheta.architectures.segmenter import Segmenter, SegmenterConfig
from ftheta.core.errors import ConfigError, DataError
from ftheta.evaluation.probes.small import scatter

CONVNET = {"kind": "convnet", "channels": 1, "classes": 3, "stages": [{"width": 4}, {"width": 6, "reduce": 2}, {"width": 8, "reduce": 2, "by": "max_pool"}]}
MIX = {
    "kind": "convnet", "channels": 1, "classes": 3, "norm": "layernorm", "stages": [
        {"width": 8, "reduce": 4, "by": {"kind": "patches", "kernel": 7}, "layer": {"kind": "mix_transformer", "heads": 2, "shrink": 2}, "last_norm": "layernorm"},
        {"width": 12, "reduce": 2, "by": {"kind": "patches", "kernel": 3}, "layer": {"kind": "mix_transformer", "heads": 3}},
    ],
}
TRUNKS: dict[str, dict[str, Any]] = {
    "convnet": CONVNET, "mix_transformer": MIX,
    "resnet": {"kind": "resnet", "channels": 1, "classes": 3, "depths": [1, 1], "widths": [8, 8], "stem_width": 4},
    "vit": {"kind": "vit", "channels": 1, "classes": 3, "height": 16, "width": 16, "stem": {"kind": "patches", "size": 4}, "dim": 16, "depth": 1,
            "mixer": {"kind": "attention", "heads": 2}},
}


def segmenter(trunk: dict[str, Any], **fields: Any) -> Segmenter:
    config = SegmenterConfig.parse({"kind": "segmenter", "trunk": trunk, "width": 10, **fields})
    return scatter(config.build(), 0).eval()                                              # type: ignore[return-value]


@pytest.mark.parametrize("trunk", TRUNKS.values(), ids=TRUNKS)
@pytest.mark.parametrize("size", [(16, 16), (19, 33)])
def test_every_trunk_answers_at_every_pixel(trunk: dict[str, Any], size: tuple[int, int]) -> None:
    assert segmenter(trunk)(image=torch.rand(2, 1, *size))["logits"].shape == (2, 3, *size)


def test_it_is_what_its_parts_compute_one_after_the_other() -> None:
    model, image = segmenter(CONVNET, strides=[2, 4], norm="none"), torch.rand(2, 1, 10, 12)
    _, middle, coarse = model.trunk.maps(image).values()
    sides = [torch.einsum("bchw,kc->bkhw", x, part.weight) + part.bias[:, None, None] for x, part in zip((middle, coarse), model.lateral, strict=True)]
    whole = torch.cat([F.interpolate(sides[1], (5, 6), mode="bilinear"), sides[0]], 1)
    fuse = model.fuse.convolution
    hidden = (torch.einsum("bchw,kc->bkhw", whole, fuse.weight[:, :, 0, 0]) + fuse.bias[:, None, None]).relu()
    expected = torch.einsum("bchw,kc->bkhw", hidden, model.head.weight[:, :, 0, 0]) + model.head.bias[:, None, None]
    torch.testing.assert_close(model(image=image)["logits"], F.interpolate(expected, (10, 12), mode="bilinear"), rtol=1e-4, atol=1e-5)


def test_knows_nothing_at_first_and_every_part_learns() -> None:
    model = SegmenterConfig.parse({"kind": "segmenter", "trunk": MIX}).build()
    model.initialise(0)
    loss = F.cross_entropy(model(image=torch.rand(2, 1, 32, 32))["logits"], torch.randint(3, (2, 32, 32), generator=torch.Generator().manual_seed(0)))
    assert float(loss.detach()) == pytest.approx(math.log(3), abs=0.05)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_what_does_not_go_together_is_said() -> None:
    with pytest.raises(ConfigError, match="no map of stride 8, only of 1, 2, 4"):
        SegmenterConfig.parse({"kind": "segmenter", "trunk": CONVNET, "strides": [8]})
    with pytest.raises(ConfigError, match="stage 0: mix_transformer layers keep 1 channels"):
        ConvNetConfig.parse({**CONVNET, "stages": [{"width": 8, "layer": "mix_transformer"}]})
    with pytest.raises(ConfigError, match="dim 8 must be a multiple of heads 3"):
        ConvNetConfig.parse({**CONVNET, "stages": [{"width": 8, "reduce": 2, "by": "patches", "layer": {"kind": "mix_transformer", "heads": 3}}]})
    with pytest.raises(DataError, match="a map of 1×2 pixels is too small for attention to squares of 2×2"):
        segmenter(MIX)(image=torch.rand(1, 1, 4, 8))
