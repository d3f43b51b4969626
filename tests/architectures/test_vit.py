"""ViT: what its tokens, positions and windows are, pictures of any size, the first loss, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ftheta.architectures.vit import ViT, ViTConfig
from ftheta.core.errors import ConfigError, DataError
from ftheta.evaluation.probes.small import scatter

TINY: dict[str, Any] = {
    "channels": 2, "classes": 7, "height": 12, "width": 16, "stem": {"kind": "patches", "size": 4}, "dim": 16, "depth": 2, "mixer": {"kind": "attention", "heads": 2},
}
WINDOWS: dict[str, Any] = {"kind": "windowed", "heads": 2, "size": 2}


def network(**fields: Any) -> ViT:
    model = ViTConfig.parse({**TINY, **fields}).build()
    model.initialise(0)
    return model


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"distillation_token": True}, {"class_token": False, "pooling": "mean"}, {"pooling": "mean"}, {"layer_scale": 0.1}, {"positions": "rotary"}, {"mixer": WINDOWS},
        {"stem": {"kind": "convolutions", "widths": [4, 8]}}, {"feedforward": "gated", "norm": "rmsnorm"}, {"positions": "sincos", "skipped": 0.3, "dropout": 0.1},
    ],
)
def test_first_loss_is_ln_k_and_pictures_of_any_size_are_taken(fields: dict[str, Any]) -> None:
    model, draws = network(**fields), torch.Generator().manual_seed(0)
    for height, width in ((12, 16), (20, 8), (4, 33)):
        images, labels = torch.rand(32, 2, height, width, generator=draws), torch.randint(7, (32,), generator=draws)
        outputs = model(image=images)
        assert outputs["features"].shape == (32, 16)
        assert abs(F.cross_entropy(outputs["logits"], labels).item() - math.log(7)) < 0.05
    outputs["logits"].square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_hybrids_say_that_their_norms_couple_the_batch() -> None:
    assert "batch_coupled" not in network().config.ports().traits
    assert "batch_coupled" in network(stem={"kind": "convolutions", "widths": [4, 8]}).config.ports().traits
    assert "batch_coupled" not in network(stem={"kind": "convolutions", "widths": [4, 8], "norm": "layernorm"}).config.ports().traits


def test_the_order_of_patches_matters_only_through_positions() -> None:
    """Without positions a picture and its mirror image of patches are the same to the mean of the patches; with them they are not."""
    image = torch.rand(3, 2, 12, 16)
    mirrored = image.unflatten(3, (4, 4)).flip(3).flatten(3)
    for positions, same in (("none", True), ("learned", False), ("sincos", False), ("rotary", False)):
        model = scatter(network(positions=positions, class_token=False, pooling="mean"), 0).eval()
        assert torch.allclose(model(image=image)["logits"], model(image=mirrored)["logits"], atol=1e-5) == same


def test_a_window_as_large_as_the_picture_is_plain_attention() -> None:
    image = torch.rand(2, 2, 12, 16)
    plain, windowed = (scatter(network(mixer=mixer), 0).eval() for mixer in (TINY["mixer"], {**WINDOWS, "size": 4}))
    torch.testing.assert_close(windowed(image=image)["logits"], plain(image=image)["logits"], atol=1e-5, rtol=1e-5)


def test_windows_hide_other_windows_and_nothing_of_their_own() -> None:
    model = scatter(network(mixer=WINDOWS, depth=1, class_token=False, pooling="mean"), 0).eval()
    image = torch.rand(1, 2, 12, 16)
    changed = image.clone()
    changed[:, :, 0:4, 0:4] += 1                                                          # the first patch, whose window is rows 0-1 and columns 0-1 of 3×4
    moved = (model.maps(image)["stride_4"] - model.maps(changed)["stride_4"]).abs().amax((0, 1)) > 1e-6
    assert moved.tolist() == [[True, True, False, False]] * 2 + [[False] * 4]


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"class_token": False}, "choose mean, or class_token: true"), ({"pooling": "mean", "distillation_token": True}, "distillation_token"),
        ({"mixer": {"kind": "attention", "heads": 3}}, "multiple of heads 3"), ({"height": 3}, "hold no patch of 4×4"), ({"mixer": {**WINDOWS, "shift": 2}}, "less than size"),
        ({"positions": "rotary", "mixer": {"kind": "attention", "heads": 8}}, "multiple of 4"), ({"positions": "sincos", "dim": 18}, "multiple of 4"),
        ({"mixer": {"kind": "attention", "causal": True}}, "causal"), ({"stem": "patch"}, "patches"),
    ],
)
def test_refuses_what_does_not_fit(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ViTConfig.parse({**TINY, **fields})


def test_a_picture_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(DataError, match="smaller than a patch, which is 4×4"):
        network()(image=torch.rand(1, 2, 3, 9))
