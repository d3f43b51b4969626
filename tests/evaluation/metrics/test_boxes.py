"""Mean average precision against pycocotools: many boxes, pictures with nothing, wrong classes, equal scores, a class that is nowhere."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ftheta.evaluation.metrics.boxes import CocoMAP, average_precisions, matched, summary
from ftheta.evaluation.pictures import boxes_over
from ftheta.inference.detect import Found
from observe import subjects


def pictures(seed: int, most: int) -> list[tuple[Found, torch.Tensor, torch.Tensor]]:
    """(what is found, boxes, classes) of each picture: some found well, some roughly, some that are not there."""
    draws = torch.Generator().manual_seed(seed)
    made = []
    for number in range(12):
        count = int(torch.randint(most, (), generator=draws)) if number else 0
        corners = torch.rand(count, 2, generator=draws) * 60
        truth = torch.cat([corners, corners + 5 + 25 * torch.rand(count, 2, generator=draws)], 1).double()
        label = torch.randint(3, (count,), generator=draws)
        moved = truth + torch.randn(count, 4, generator=draws) * 2
        again = truth + torch.randn(count, 4, generator=draws) * 6
        boxes = torch.cat([moved, again, torch.tensor([[1.0, 1.0, 20.0, 20.0]]).double()])
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        labels = torch.cat([label, (label + (torch.rand(count, generator=draws) < 0.2)) % 3, torch.tensor([1])])
        scores = (torch.rand(len(boxes), generator=draws) * 20).round() / 20              # many are equal
        order = scores.argsort(descending=True, stable=True)
        made.append((Found(boxes[order], scores[order].double(), labels[order]), truth, label))
    return made


def reference(made: list[tuple[Found, torch.Tensor, torch.Tensor]]) -> tuple[float, float]:
    def rows(boxes: torch.Tensor) -> list[list[float]]:
        return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()

    truths, results = [], []
    for image, (found, truth, label) in enumerate(made):
        for box, k in zip(rows(truth), label.tolist(), strict=True):
            truths.append({"id": len(truths) + 1, "image_id": image, "category_id": k, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        for box, score, k in zip(rows(found.boxes), found.scores.tolist(), found.labels.tolist(), strict=True):
            results.append({"image_id": image, "category_id": k, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth_side: Any = COCO()
        truth_side.dataset = {"info": {}, "images": [{"id": i} for i in range(len(made))], "categories": [{"id": k} for k in range(4)], "annotations": truths}
        truth_side.createIndex()
        judged = COCOeval(truth_side, truth_side.loadRes(results), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0]), float(judged.stats[1])


@pytest.mark.parametrize(("seed", "most"), [(0, 6), (1, 12), (2, 2), (3, 30)])
def test_equals_pycocotools(seed: int, most: int) -> None:
    made = pictures(seed, most)
    ours = summary(average_precisions([[matched(found, truth, label, k) for k in range(4)] for found, truth, label in made]))
    theirs = reference(made)
    assert 0.05 < theirs[0] < theirs[1] < 1
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_all_found_is_one_and_nothing_found_is_none() -> None:
    made = pictures(1, 8)
    perfect = [(Found(truth, torch.ones(len(truth)), label), truth, label) for _, truth, label in made]
    nothing = [(Found(truth[:0], truth[:0, 0], label[:0]), truth, label) for _, truth, label in made]
    for side, expected in ((perfect, (1.0, 1.0)), (nothing, (0.0, 0.0))):
        assert summary(average_precisions([[matched(found, truth, label, k) for k in range(3)] for found, truth, label in side])) == pytest.approx(expected)


def test_measures_with_an_interval_and_a_picture() -> None:
    result = CocoMAP().measure(subjects("boxes"))
    names = [one.name for one in result.measurements]
    assert names == ["mAP", "mAP50"] and all(one.low <= one.value <= one.high for one in result.measurements if np.isfinite(one.value))
    assert result.pictures["boxes.png"][:4] == b"\x89PNG" and "- a: " in result.texts["Average precision by class"]


def test_a_box_is_drawn_around_what_it_is_around() -> None:
    """Half a pixel beside it would be 12 points of the picture."""
    picture = torch.full((3, 12, 12), 0.5)
    picture[:, 3:9, 2:7] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    none = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    drawn = boxes_over([(picture, none, (torch.tensor([[2.0, 3.0, 7.0, 9.0]]), torch.tensor([0])))], [])
    shown = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB")).astype(int)
    red = (np.abs(shown - [255, 0, 0]).sum(-1) < 30).nonzero()
    blue = (np.abs(shown - [31, 119, 180]).sum(-1) < 60).nonzero()
    for edge, line in zip(red, blue, strict=True):
        assert len(edge) and len(line) and abs(edge.min() - line.min()) <= 4 and abs(edge.max() - line.max()) <= 4
