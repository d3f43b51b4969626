"""The judge of generated pictures knows real from wrong, and one picture of each class from many."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ftheta.core.errors import DataError
from ftheta.evaluation import generated
from ftheta.evaluation.generated import judge


def bars(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Four classes of 8×8 pictures: a bright bar, upright or level, left/top or right/bottom, with noise and of varying place and strength."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    images = torch.rand(n, 1, 8, 8, generator=generator) * 0.2
    place = torch.randint(3, (n,), generator=generator)
    strength = 0.5 + 0.3 * torch.rand(n, generator=generator)
    for i, (label, at) in enumerate(zip(labels.tolist(), place.tolist(), strict=True)):
        line = at + (5 if label % 2 else 0)
        if label < 2:
            images[i, 0, :, line] = strength[i]
        else:
            images[i, 0, line, :] = strength[i]
    return images, labels


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "STEPS", 120)


def verdict(images: torch.Tensor) -> dict[str, Any]:
    return judge(images, *bars(800, 0), 0)


@pytest.mark.usefixtures("quick")
def test_tells_real_pictures_from_wrong_ones() -> None:
    fresh, labels = bars(200, 1)
    real = verdict(fresh)
    assert real["clear"] > 0.9 and real["classes"] == [0, 1, 2, 3] and 0.8 < real["variety"] < 1.2
    assert real["reference_accuracy"] > 0.97 and real["reference_clear"] > 0.9
    assert real["confidence"].shape == real["predicted"].shape == (200,) and (real["predicted"] == labels).float().mean() > 0.97
    noise = verdict(torch.rand(200, 1, 8, 8))
    assert noise["clear"] < 0.05 and noise["reference_clear"] == real["reference_clear"]


@pytest.mark.usefixtures("quick")
def test_one_picture_of_each_class_has_no_variety_and_a_missing_class_is_missed() -> None:
    images, labels = bars(200, 1)
    first = images[:4].repeat(50, 1, 1, 1)
    assert verdict(first)["variety"] < 0.01
    assert verdict(images[labels < 3])["classes"] == [0, 1, 2]


@pytest.mark.usefixtures("quick")
def test_is_deterministic_and_leaves_the_random_state_alone() -> None:
    images, _ = bars(20, 1)
    torch.manual_seed(5)
    first = torch.rand(1)
    torch.manual_seed(5)
    with torch.no_grad():
        a = verdict(images)
    assert torch.equal(torch.rand(1), first)
    assert torch.equal(a["confidence"], verdict(images)["confidence"])


def test_refuses_pictures_of_another_shape() -> None:
    with pytest.raises(DataError, match=r"\(1, 8, 9\)"):
        judge(torch.rand(3, 1, 8, 9), *bars(40, 0), 0)
