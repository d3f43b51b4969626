"""The losses of pixels and pictures against formulas written out pixel by pixel."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ftheta.core.contract import Loss
from ftheta.core.errors import ConfigError
from ftheta.core.random import Draws
from ftheta.objectives.objective import Phase
from ftheta.objectives.segmentation import Segmentation

LOGITS = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).double()
MASK = torch.randint(-1, 4, (3, 5, 6), generator=torch.Generator().manual_seed(1))


def loss(logits: Tensor = LOGITS, mask: Tensor = MASK, **fields: Any) -> Loss:
    objective = Segmentation.parse({"kind": "segmentation", **fields})
    return objective.loss(nn.Identity(), lambda batch: {"logits": logits}, {"mask": mask}, Phase("main"))


def written_out(gamma: float, pixels: float, dice: float, smooth: float) -> tuple[float, int]:
    total, count = 0.0, 0
    for logits, mask in zip(LOGITS.tolist(), MASK.tolist(), strict=True):
        classes, known, sides = range(4), 0, [[0.0, 0.0] for _ in range(4)]
        for row in range(5):
            for column in range(6):
                y = mask[row][column]
                if y < 0:
                    continue
                powers = [math.exp(logits[k][row][column]) for k in classes]
                p = [power / sum(powers) for power in powers]
                total += pixels * -((1 - p[y]) ** gamma) * math.log(p[y])
                known += 1
                for k in classes:
                    sides[k][0] += p[k] * (k == y)
                    sides[k][1] += p[k] + (k == y)
        total += dice * known * (1 - sum((2 * both + smooth) / (either + smooth) for both, either in sides) / 4)
        count += known
    return total, count


@pytest.mark.parametrize(("gamma", "pixels", "dice"), [(0.0, 1.0, 0.0), (2.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.5, 0.7, 0.4)])
def test_equals_the_formula(gamma: float, pixels: float, dice: float) -> None:
    found = loss(cross_entropy=pixels, focus=gamma, dice=dice, smooth=0.5)
    total, count = written_out(gamma, pixels, dice, 0.5)
    assert float(found.total) == pytest.approx(total, rel=1e-9)
    assert int(found.count) == count == int((MASK >= 0).sum())                            # type: ignore[arg-type]


def test_pixels_of_no_known_class_change_nothing() -> None:
    logits = LOGITS.clone()
    logits[(MASK < 0)[:, None].expand_as(logits)] += 7
    both = [loss(values, focus=1.0, dice=1.0) for values in (LOGITS, logits)]
    assert both[0].total == both[1].total


def test_parts_of_a_batch_add_up_to_it() -> None:
    whole = loss(dice=0.5)
    parts = [loss(LOGITS[i : i + 1], MASK[i : i + 1], dice=0.5) for i in range(3)]
    assert float(sum(part.total for part in parts)) == pytest.approx(float(whole.total), rel=1e-12)
    assert sum(part.count for part in parts) == whole.count                              # type: ignore[misc]


def test_a_picture_without_any_known_pixel_counts_for_nothing() -> None:
    found = loss(mask=torch.full_like(MASK, -1), dice=1.0)
    assert float(found.total) == 0.0 == float(found.count)                               # type: ignore[arg-type]


def test_something_must_be_learned() -> None:
    with pytest.raises(ConfigError, match="leaves too little"):
        Segmentation.parse({"kind": "segmentation", "cross_entropy": 0.0})


def naive_distances(classes: Tensor, k: int) -> list[list[float]]:
    """Every pixel against every other."""
    places = [(r, c, int(classes[r, c]) == k) for r in range(classes.shape[0]) for c in range(classes.shape[1])]
    found = [[0.0] * classes.shape[1] for _ in range(classes.shape[0])]
    if len({inside for *_, inside in places}) == 2:
        for r, c, mine in places:
            nearest = min(math.hypot(r - i, c - j) for i, j, inside in places if inside != mine)
            found[r][c] = 1 - nearest if mine else nearest
    return found


def test_the_boundary_loss_equals_distances_to_every_pixel() -> None:
    mask = MASK.clone()
    mask[1], mask[2] = 2, (mask[2] > 1).long()                                            # one class alone, and classes that are not there
    objective = Segmentation(boundary=0.3)
    batch = objective.prepare({"mask": mask}, Draws(torch.arange(3), 3, "x"))
    found = objective.loss(nn.Identity(), lambda batch: {"logits": LOGITS}, batch, Phase("main"))
    p, known = LOGITS.softmax(1), mask >= 0
    expected = float(loss(mask=mask).total)
    for i in range(3):
        for k in range(4):
            expected += 0.3 * float((p[i, k] * torch.tensor(naive_distances(mask[i], k)).double() * known[i]).sum())
    assert float(found.total) == pytest.approx(expected, rel=1e-6)
    parts = [objective.prepare({"mask": mask[i : i + 1]}, Draws(torch.arange(1), 3, "x")) for i in range(3)]
    each = [objective.loss(nn.Identity(), lambda batch, i=i: {"logits": LOGITS[i : i + 1]}, part, Phase("main")) for i, part in enumerate(parts)]
    assert float(sum(part.total for part in each)) == pytest.approx(float(found.total), rel=1e-6)
