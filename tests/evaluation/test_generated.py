"""The judge of generated pictures knows real from wrong, and one picture of each class from many."""

from __future__ import annotations

import pytest
import torch

from ftheta.core.errors import DataError
from ftheta.evaluation import generated
from ftheta.evaluation.generated import judge, variety


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


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "STEPS", 100)


def test_tells_real_pictures_from_wrong_ones_and_is_deterministic() -> None:
    fresh, labels = bars(200, 1)
    images = torch.cat([fresh, torch.rand(200, 1, 8, 8), fresh[labels == 0] / 2 + fresh[labels == 3] / 2])
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with torch.no_grad():                                                                 # as metrics call it
        found = judge(images, *bars(800, 0), 0)
    assert torch.equal(torch.get_rng_state(), state)
    clear = found["confidence"] >= 0.9
    assert clear[:200].float().mean() > 0.9 and clear[200:].float().mean() < 0.1
    assert found["clear"] == pytest.approx(float(clear.float().mean()))
    assert (found["predicted"][:200] == labels).float().mean() > 0.97
    assert found["reference_accuracy"] > 0.97 and found["reference_clear"] > 0.9
    some = judge(fresh[labels < 3], *bars(800, 0), 0)
    assert some["classes"] == [0, 1, 2] and 0.8 < some["variety"] < 1.2
    assert torch.equal(some["confidence"], found["confidence"][:200][labels < 3])


def test_variety_is_1_for_real_pictures_and_0_for_one_of_each_class() -> None:
    (a, labels), (b, others) = bars(400, 1), bars(800, 0)
    assert variety(a, labels, b, others) == pytest.approx(1, abs=0.1)
    assert variety(a[:4].repeat(100, 1, 1, 1), labels, b, others) == 0
    halved = a.clone()
    for value in range(4):
        halved[labels == value] = (a[labels == value] + a[labels == value].mean(0)) / 2
    assert variety(halved, labels, b, others) == pytest.approx(variety(a, labels, b, others) / 4, rel=1e-3)
    assert variety(a[labels == 2][:1], labels[labels == 2][:1], b, others) == 0


def test_refuses_pictures_of_another_shape() -> None:
    with pytest.raises(DataError, match=r"\(1, 8, 9\)"):
        judge(torch.rand(3, 1, 8, 9), *bars(40, 0), 0)
