"""U-Net: any trunk, pictures of any size, skips as said."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.unet import UNet, UNetConfig
from ftheta.core.config import Slot
from ftheta.core.errors import ConfigError
from ftheta.evaluation.probes.small import scatter

CONVNET = {"kind": "convnet", "channels": 1, "classes": 3, "stages": [{"width": 4}, {"width": 6, "reduce": 2}, {"width": 8, "reduce": 2, "by": "max_pool"}]}
TRUNKS: dict[str, dict[str, Any]] = {
    "convnet": CONVNET,
    "resnet": {"kind": "resnet", "channels": 1, "classes": 3, "depths": [1, 1], "widths": [8, 8], "stem_width": 4},
    "vit": {"kind": "vit", "channels": 1, "classes": 3, "height": 16, "width": 16, "stem": {"kind": "patches", "size": 4}, "dim": 16, "depth": 1,
            "mixer": {"kind": "attention", "heads": 2}, "distillation_token": True},
}


def unet(trunk: dict[str, Any], **fields: Any) -> UNet:
    config = UNetConfig.parse({"kind": "unet", "trunk": trunk, **fields})
    return scatter(config.build(), 0).eval()                                              # type: ignore[return-value]


@pytest.mark.parametrize("trunk", TRUNKS.values(), ids=TRUNKS)
@pytest.mark.parametrize("size", [(16, 16), (19, 33)])
def test_every_trunk_answers_at_every_pixel(trunk: dict[str, Any], size: tuple[int, int]) -> None:
    assert unet(trunk)(image=torch.rand(2, 1, *size))["logits"].shape == (2, 3, *size)


def test_it_is_what_its_parts_compute_one_after_the_other() -> None:
    """The way up, written out."""
    model, image = unet(CONVNET, skips=[1], widths=[5], depth=1), torch.rand(2, 1, 9, 13)
    fine, _, coarse = model.trunk.maps(image).values()
    assert coarse.shape[2:] == (2, 3)
    rows, columns = (torch.arange(n) * m // n for n, m in ((9, 2), (13, 3)))              # the nearest pixel of the coarse map
    up = model.up[0].layers[0]
    convolved = F.conv2d(torch.cat([coarse[:, :, rows][..., columns], fine], 1), up.convolution.weight, padding=1)
    norm = up.norm
    normed = (convolved - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    expected = torch.einsum("bchw,kc->bkhw", normed.relu(), model.head.weight[:, :, 0, 0]) + model.head.bias[:, None, None]
    torch.testing.assert_close(model(image=image)["logits"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("fields", "said"), [
    ({"skips": [8]}, "no map of stride 8, only of 1, 2, 4"), ({"skips": [1, 4]}, "begins with the map of stride 4"), ({"widths": [4]}, "each of the 2 steps up"),
])
def test_what_does_not_go_together_is_said(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        UNetConfig.parse({"kind": "unet", "trunk": CONVNET, **fields})


def test_knows_nothing_at_first_and_has_no_head_of_the_trunk() -> None:
    config = Slot(ARCHITECTURES).parse({"kind": "unet", "trunk": CONVNET})
    model = config.build()                                                                # type: ignore[attr-defined]
    model.initialise(0)
    logits = model(image=torch.rand(2, 1, 16, 16))["logits"]
    assert F.cross_entropy(logits.detach(), torch.zeros(2, 16, 16, dtype=torch.long)) == pytest.approx(math.log(3), abs=0.1)
    assert not [name for name in model.theta() if name.startswith("trunk.head")]
