"""Overlaps, assignments and losses of boxes against loops that go through them one by one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ftheta.core.boxes import overlap
from ftheta.objectives.detection import Detection
from ftheta.objectives.objective import Phase

DRAWS = torch.Generator().manual_seed(0)
PLACES = torch.tensor([[(column + 0.5) * s, (row + 0.5) * s, s] for s, n in ((4.0, 8), (8.0, 4)) for row in range(n) for column in range(n)]).double()


def boxes(*shape: int, side: float = 32.0) -> Tensor:
    corners = torch.rand(*shape, 2, 2, generator=DRAWS).double() * side
    return torch.cat([corners.amin(-2), corners.amax(-2) + 1], -1)


PREDICTED = boxes(3, len(PLACES))
LOGITS = torch.randn(3, len(PLACES), 3, generator=DRAWS).double()
TRUTH, LABEL = boxes(3, 4), torch.tensor([[0, 1, 2, 2], [1, 1, -1, -1], [-1, -1, -1, -1]])
TRUTH[0, 0] = torch.tensor([1.0, 1.0, 31.0, 30.0])                                        # a large one, and one inside it
TRUTH[0, 1] = torch.tensor([6.0, 6.0, 20.0, 21.0])


def iou(a: list[float], b: list[float]) -> float:
    wide, high = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return wide * high / (sum(areas) - wide * high)


def common(a: list[float], b: list[float], form: str) -> float:
    found = iou(a, b)
    around = [max(a[i], b[i]) - min(a[i - 2], b[i - 2]) for i in (2, 3)]
    if form == "giou":
        wide, high = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
        either = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - wide * high
        return found - (around[0] * around[1] - either) / (around[0] * around[1])
    apart = sum(((a[i] + a[i + 2]) / 2 - (b[i] + b[i + 2]) / 2) ** 2 for i in (0, 1)) / (around[0] ** 2 + around[1] ** 2)
    v = 4 / math.pi**2 * (math.atan((a[2] - a[0]) / (a[3] - a[1])) - math.atan((b[2] - b[0]) / (b[3] - b[1]))) ** 2
    return {"iou": found, "diou": found - apart, "ciou": found - apart - v * v / (1 - found + v)}[form]


@pytest.mark.parametrize("form", ["iou", "giou", "diou", "ciou"])
def test_overlaps_equal_the_formulas(form: Any) -> None:
    a, b = boxes(40), boxes(40)
    expected = [common(*pair, form) for pair in zip(a.tolist(), b.tolist(), strict=True)]
    torch.testing.assert_close(overlap(a, b, form), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(overlap(a, a, form), torch.ones(40).double(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", ["giou", "diou", "ciou"])
def test_boxes_apart_are_drawn_together(form: Any) -> None:
    a, b = torch.tensor([0.0, 0.0, 2.0, 3.0], requires_grad=True), torch.tensor([9.0, 0.0, 12.0, 4.0])
    overlap(a, b, form).backward()
    assert a.grad is not None and a.grad[2] > 0


def inside(place: list[float], box: list[float]) -> bool:
    return box[0] < place[0] < box[2] and box[1] < place[1] < box[3]


def by_centre(radius: float) -> dict[tuple[int, int], tuple[int, float]]:
    """(picture, place) → (box, target)."""
    found = {}
    for i in range(3):
        for a, (x, y, s) in enumerate(PLACES.tolist()):
            wants = []
            for n, box in enumerate(TRUTH[i].tolist()):
                farthest = max(x - box[0], y - box[1], box[2] - x, box[3] - y)
                sized = (farthest > 4 * s or s == 4) and (farthest <= 8 * s or s == 8)
                near = max(abs(x - (box[0] + box[2]) / 2), abs(y - (box[1] + box[3]) / 2)) <= radius * s
                if LABEL[i, n] >= 0 and inside([x, y], box) and sized and near:
                    wants.append(((box[2] - box[0]) * (box[3] - box[1]), n))
            if wants:
                found[i, a] = (min(wants)[1], 1.0)
    return found


def by_task(top: int, alpha: float, beta: float) -> dict[tuple[int, int], tuple[int, float]]:
    found = {}
    for i in range(3):
        wants: dict[int, list[tuple[float, int, float]]] = {}
        fits: dict[tuple[int, int], float] = {}
        for n, box in enumerate(TRUTH[i].tolist()):
            if LABEL[i, n] < 0:
                continue
            each = []
            for a, place in enumerate(PLACES.tolist()):
                if inside(place, box):
                    p = 1 / (1 + math.exp(-float(LOGITS[i, a, LABEL[i, n]])))
                    fits[n, a] = p**alpha * iou(PREDICTED[i, a].tolist(), box) ** beta
                    each.append((fits[n, a], a))
            for _, a in sorted(each, reverse=True)[:top]:
                wants.setdefault(a, []).append((iou(PREDICTED[i, a].tolist(), box), n, 0.0))
        mine = {a: max(several)[1] for a, several in wants.items()}
        for a, n in mine.items():
            its = [b for b, m in mine.items() if m == n]
            best = max(fits[n, b] for b in its)
            largest = max(iou(PREDICTED[i, b].tolist(), TRUTH[i, n].tolist()) for b in its)
            found[i, a] = (n, fits[n, a] / best * largest)
    return found


def reference(expected: dict[tuple[int, int], tuple[int, float]], form: str, gamma: float | None, alpha: float, weights: tuple[float, float]) -> float:
    total = 0.0
    for i in range(3):
        for a in range(len(PLACES)):
            n, target = expected.get((i, a), (-1, 0.0))
            for k in range(3):
                t = target if n >= 0 and LABEL[i, n] == k else 0.0
                p = 1 / (1 + math.exp(-float(LOGITS[i, a, k])))
                loss = -t * math.log(p) - (1 - t) * math.log(1 - p)
                if gamma is not None:
                    loss *= abs(t - p) ** gamma * (2 * alpha if t > 0 else 2 * (1 - alpha))
                total += weights[0] * loss
            if n >= 0:
                total += weights[1] * target * (1 - common(PREDICTED[i, a].tolist(), TRUTH[i, n].tolist(), form))
    return total


@pytest.mark.parametrize(("fields", "expected"), [
    ({"assignment": "centre", "radius": 1.5}, by_centre(1.5)), ({"assignment": "centre", "radius": 0.6, "score": "focal"}, by_centre(0.6)),
    ({"top": 3, "fit": 2.0}, by_task(3, 0.5, 2.0)),
    ({"top": 50, "sureness": 1.0, "fit": 1.0, "overlap": "giou", "score": "focal", "focus": 1.5, "balance": 0.4}, by_task(50, 1.0, 1.0)),
])
def test_the_loss_equals_the_one_written_out(fields: dict[str, Any], expected: dict[tuple[int, int], tuple[int, float]]) -> None:
    objective = Detection.parse({"kind": "detection", "box_weight": 3.0, "score_weight": 0.5, **fields})
    outputs = {"boxes": PREDICTED, "logits": LOGITS, "places": PLACES.expand(3, -1, -1)}
    found = objective.loss(nn.Identity(), lambda batch: outputs, {"boxes": TRUTH, "box_label": LABEL}, Phase("main"))
    assert len(expected) > 5
    gamma = objective.focus if objective.score == "focal" else None
    assert float(found.total) == pytest.approx(reference(expected, objective.overlap, gamma, objective.balance, (0.5, 3.0)), rel=1e-9)
    assert found.count == 7                                                               # four boxes, two, and a picture without any


def test_parts_of_a_batch_add_up_to_it() -> None:
    objective = Detection()

    def loss(rows: slice) -> tuple[float, int]:
        outputs = {"boxes": PREDICTED[rows], "logits": LOGITS[rows], "places": PLACES.expand(3, -1, -1)[rows]}
        found = objective.loss(nn.Identity(), lambda batch: outputs, {"boxes": TRUTH[rows], "box_label": LABEL[rows]}, Phase("main"))
        return float(found.total), int(found.count)                                       # type: ignore[arg-type]

    parts = [loss(slice(i, i + 1)) for i in range(3)]
    whole = loss(slice(0, 3))
    assert sum(total for total, _ in parts) == pytest.approx(whole[0], rel=1e-12) and sum(count for _, count in parts) == whole[1]
