"""What pictures teach without labels: two views of each, and hidden patches, against their formulas written as loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture, call
from ftheta.architectures.resnet import ResNetConfig
from ftheta.architectures.vit import ViTConfig
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError
from ftheta.core.random import Draws
from ftheta.data.processors.image import ImageProcessor
from ftheta.evaluation.probes.small import scatter
from ftheta.models.model import Model
from ftheta.objectives.contrastive import Contrastive
from ftheta.objectives.masked_patches import MaskedPatches
from ftheta.objectives.objective import Phase
from ftheta.training.backward import accumulate

PHASE = Phase("main")
TAU = 0.2


def vit(channels: int = 2, **more: Any) -> Architecture:
    config = ViTConfig.parse({
        "kind": "vit", "channels": channels, "classes": 3, "height": 8, "width": 8, "stem": {"kind": "patches", "size": 2}, "dim": 16, "depth": 1,
        "mixer": {"kind": "attention", "heads": 2, "bias": True}, **more,
    })
    model = scatter(config.build().double(), 0, 0.3)
    model.compute_dtype = torch.float64
    return model


def images(count: int = 6, channels: int = 2) -> Tensor:
    return torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def draws(rows: Tensor | None = None) -> Draws:
    return Draws(torch.arange(6) if rows is None else rows, 6, 0, "prepare", 3)


def views(**more: object) -> Contrastive:
    return Contrastive.parse({"kind": "contrastive", "form": "views", "temperature": TAU, "views": ["flip", {"kind": "shift", "pixels": 2}], **more})


def test_views_are_told_from_all_other_views() -> None:
    model = vit()
    batch = views().prepare({"image": images()}, draws())
    assert not torch.equal(batch["image"], batch["other"])
    every = [model(image=batch[name][i][None])["features"][0] for name in ("image", "other") for i in range(6)]
    total = torch.zeros((), dtype=torch.float64)
    for i, own in enumerate(every):
        cosines = torch.stack([own @ other / own.norm() / other.norm() for other in every]) / TAU
        others = torch.stack([cosines[j] for j in range(12) if j != i])
        total = total - (cosines[(i + 6) % 12] - others.exp().sum().log()) / 12
    loss = views().loss(model, lambda part: call(model, part), batch, PHASE)
    assert loss.count is None
    torch.testing.assert_close(loss.total, total, rtol=1e-9, atol=1e-9)


def test_views_of_a_row_are_the_same_in_any_part_of_a_batch() -> None:
    whole = views().prepare({"image": images()}, draws())
    rows = torch.tensor([4, 1])
    part = views().prepare({"image": images()[rows]}, draws(rows))
    assert all(torch.equal(part[name], whole[name][rows]) for name in ("image", "other"))


def test_views_are_made_of_the_pictures_before_they_were_centred() -> None:
    """Brightness is about values in [0, 1]: with a processor that centres, the views are those of the plain pictures, centred."""
    processor = ImageProcessor((8, 8), 3, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    plain = images(channels=3).float()
    bare = views(views=["colour"]).prepare({"image": plain}, draws())
    told = views(views=["colour"]).with_tokens(processor).prepare(processor.normalise({"image": plain}), draws())
    for name in ("image", "other"):
        torch.testing.assert_close(told[name], processor.normalise({"image": bare[name]})["image"], rtol=1e-4, atol=1e-5)


def test_mixed_pictures_are_no_views() -> None:
    with pytest.raises(ConfigError, match="'cutmix' mixes pictures"):
        views(views=["flip", "cutmix"])


def gradients(model: Architecture, batch: Batch, size: int) -> dict[str, Tensor]:
    model.zero_grad()
    parts = [lambda i=i: {name: value[i : i + size] for name, value in batch.items()} for i in range(0, 6, size)]
    accumulate(views(), model, lambda part: call(model, part), PHASE, parts, torch.arange(6), 6)
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_views_in_micro_batches_are_exact() -> None:
    model = vit()
    batch = views().prepare({"image": images()}, draws())
    whole = gradients(model, batch, 6)
    assert len(whole) > 10
    for name, found in gradients(model, batch, 2).items():
        torch.testing.assert_close(found, whole[name], rtol=1e-9, atol=1e-12)


def test_hidden_patches() -> None:
    objective = MaskedPatches(patch=4, rate=0.5)
    image, batch = images(), objective.prepare({"image": images()}, draws())
    hidden = batch["chosen"].view(6, 2, 4, 2, 4)
    assert torch.equal(hidden.all(4).all(2), hidden.any(4).any(2))                                         # whole patches
    assert (hidden[:, :, 0, :, 0].sum((1, 2)) == 2).all() and len({tuple(row.flatten().tolist()) for row in hidden}) > 1
    assert torch.equal(batch["target"], image)
    for i in range(6):
        for c in range(2):
            seen = ~batch["chosen"][i]
            assert torch.equal(batch["image"][i, c][seen], image[i, c][seen])
            torch.testing.assert_close(batch["image"][i, c][~seen], image[i, c][seen].mean().expand(int((~seen).sum())))
    part = objective.prepare({"image": image[[5, 0]]}, draws(torch.tensor([5, 0])))
    assert torch.equal(part["chosen"], batch["chosen"][[5, 0]])


@pytest.mark.parametrize("more", [{}, {"class_token": False, "pooling": "mean", "positions": "sincos"}])
def test_the_loss_is_the_squared_error_of_hidden_pixels(more: dict[str, Any]) -> None:
    model, objective = vit(2, **{"pixels": True, **more}), MaskedPatches(patch=4, rate=0.5)
    batch = objective.prepare({"image": images()}, draws())
    loss = objective.loss(model, lambda part: call(model, part), batch, PHASE)
    hidden, _ = model.encoded(batch["image"])  # type: ignore[operator]
    total, count = torch.zeros((), dtype=torch.float64), 0
    for i in range(6):
        for row in range(4):
            for column in range(4):
                token = hidden[i, model.config.first + 4 * row + column]  # type: ignore[attr-defined]
                said = (model.pixels.weight @ token + model.pixels.bias).view(2, 2, 2)  # type: ignore[union-attr, operator]
                for y in range(2):
                    for x in range(2):
                        if batch["chosen"][i, 2 * row + y, 2 * column + x]:
                            total = total + ((said[:, y, x] - images()[i, :, 2 * row + y, 2 * column + x]) ** 2).sum()
                            count += 2
    assert loss.count == count == 6 * 2 * 16 * 2
    torch.testing.assert_close(loss.total, total, rtol=1e-9, atol=1e-9)


def test_nothing_of_a_hidden_patch_reaches_the_model() -> None:
    objective = MaskedPatches(patch=4, rate=0.5)
    first = objective.prepare({"image": images()}, draws())
    other = torch.where(first["chosen"][:, None], torch.rand(6, 2, 8, 8, dtype=torch.float64), images())
    assert torch.equal(objective.prepare({"image": other}, draws())["image"], first["image"])


def test_features_of_a_picture() -> None:
    config = ResNetConfig.parse({"kind": "resnet", "channels": 1, "classes": 3, "depths": [1], "widths": [8], "stem": "small", "stem_width": 8})
    architecture = scatter(config.build(), 0).eval()
    picture = images(1, 1)[0, 0].float()
    model = Model(architecture, ImageProcessor((8, 8), 1), "image-feature-extraction")
    expected = architecture(image=picture[None, None])["features"][0]
    torch.testing.assert_close(torch.tensor(model.predict({"pixels": picture.tolist()}).features), expected.detach(), rtol=1e-4, atol=1e-5)
