"""Suppression of boxes against a loop over plain numbers."""

from __future__ import annotations

import torch

from ftheta.core.boxes import stays
from ftheta.inference.detect import detections


def iou(a: list[float], b: list[float]) -> float:
    wide, high = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return wide * high / (sum(areas) - wide * high)


def one_by_one(boxes: list[list[float]], scores: list[float], labels: list[int], overlap: float) -> list[int]:
    """The numbers of those that stay, surest first."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(labels[i] != labels[j] or iou(boxes[i], boxes[j]) <= overlap for j in kept):
            kept.append(i)
    return kept


def test_equals_the_loop_for_all_pictures_at_once() -> None:
    draws = torch.Generator().manual_seed(0)
    corners = torch.rand(5, 60, 2, generator=draws) * 20
    boxes = torch.cat([corners, corners + 4 + 10 * torch.rand(5, 60, 2, generator=draws)], -1).double()
    logits = torch.randn(5, 60, 3, generator=draws).double()
    for overlap in (0.1, 0.3, 0.5):
        for i, found in enumerate(detections({"boxes": boxes, "logits": logits}, 0.0, overlap, most=1000)):
            flat = [(boxes[i, place].tolist(), float(logits[i, place, k]), k) for place in range(60) for k in range(3)]
            kept = [flat[j] for j in one_by_one(*(list(column) for column in zip(*flat, strict=True)), overlap)]    # type: ignore[arg-type]
            assert found.labels.tolist() == [k for _, _, k in kept]
            torch.testing.assert_close(found.boxes, torch.tensor([box for box, _, _ in kept]))
            torch.testing.assert_close(found.scores, torch.tensor([score for _, score, _ in kept]).sigmoid())
        assert 0 < len(kept) < 180


def test_what_is_hidden_hides_nothing_and_classes_are_apart() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [0, 0, 10, 10]]])
    assert stays(boxes, torch.tensor([[0, 0, 0, 1]]), 0.4).tolist() == [[True, False, True, True]]


def test_only_the_surest_and_only_so_many() -> None:
    boxes = torch.tensor([[[0.0, 0, 1, 1], [5, 5, 6, 6], [8, 8, 9, 9]]])
    outputs = {"boxes": boxes, "logits": torch.tensor([[[0.0], [2.0], [-5.0]]])}
    (found,), (first,) = detections(outputs, 0.5), detections(outputs, 0.0, most=1)
    assert found.boxes.tolist() == [[5, 5, 6, 6], [0, 0, 1, 1]] and first.boxes.tolist() == [[5, 5, 6, 6]]
