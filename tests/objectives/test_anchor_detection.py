"""Anchors: where they stand, how boxes are coded, who is given which box and what counts, against loops over single anchors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ftheta.architectures.architecture import call
from ftheta.architectures.detector import Detector, DetectorConfig
from ftheta.blocks.anchor_head import coded, decoded
from ftheta.core.boxes import pairwise
from ftheta.core.contract import Batch
from ftheta.evaluation.probes.small import scatter
from ftheta.inference.detect import detections
from ftheta.objectives.anchor_detection import AnchorDetection, given
from ftheta.objectives.objective import Phase

TRUNK = {"kind": "convnet", "channels": 1, "classes": 3, "norm": "layernorm", "stages": [{"width": 4, "reduce": 2}, {"width": 6, "reduce": 2}, {"width": 8, "reduce": 2}]}
HEAD = {"kind": "anchors", "scales": [1.0, 2.0], "ratios": [1.0, 4.0, 0.25]}


def detector(**fields: Any) -> Detector:
    config = DetectorConfig.parse({"kind": "detector", "trunk": TRUNK, "width": 8, "depth": 1, "strides": [4, 8], "head": HEAD, "neck": "fpn", **fields})
    return scatter(config.build(), 0).eval()                                              # type: ignore[return-value]


def test_anchors_stand_around_every_place() -> None:
    outputs = detector()(image=torch.rand(2, 1, 16, 24))                                  # maps of 4×6 and 2×3
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == {
        "boxes": (180, 4), "logits": (180, 3), "anchors": (180, 4), "offsets": (180, 4), "anchor_logits": (180, 4),
    }
    number = 0
    for stride, rows, columns in ((4, 4, 6), (8, 2, 3)):
        for row in range(rows):
            for column in range(columns):
                for scale in (1.0, 2.0):
                    for ratio in (1.0, 4.0, 0.25):
                        x, y = (column + 0.5) * stride, (row + 0.5) * stride
                        wide, high = scale * stride * math.sqrt(ratio), scale * stride / math.sqrt(ratio)
                        assert outputs["anchors"][1, number].tolist() == pytest.approx([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2])
                        number += 1
    torch.testing.assert_close(outputs["logits"].sigmoid(), outputs["anchor_logits"].softmax(-1)[..., :-1], atol=1e-6, rtol=1e-5)


def test_what_a_place_says_belongs_to_its_anchors() -> None:
    model, image = detector(), torch.rand(1, 1, 16, 24)
    maps = model.neck([model.trunk.maps(image)[name] for name in model.names])
    outputs, start = model(image=image), 0
    for head, hidden in zip(model.heads.children(), maps, strict=True):
        said, sides = head(hidden)
        for place in range(hidden.shape[2] * hidden.shape[3]):
            row, column = divmod(place, hidden.shape[3])
            for anchor in range(6):
                torch.testing.assert_close(outputs["anchor_logits"][0, start], said[0, 4 * anchor : 4 * anchor + 4, row, column])
                torch.testing.assert_close(outputs["offsets"][0, start], sides[0, 4 * anchor : 4 * anchor + 4, row, column])
                start += 1


def boxes_of(count: int, seed: int, size: float = 24.0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    corner = size * 0.7 * torch.rand(count, 2, generator=draws, dtype=torch.float64)
    return torch.cat([corner, corner + 2 + size * 0.4 * torch.rand(count, 2, generator=draws, dtype=torch.float64)], 1)


def test_coding_is_as_written_and_back() -> None:
    boxes, anchors = boxes_of(20, 0), boxes_of(20, 1)
    found = coded(boxes, anchors)
    for (x1, y1, x2, y2), (a, b, c, d), offsets in zip(boxes.tolist(), anchors.tolist(), found.tolist(), strict=True):
        away = [((x1 + x2) / 2 - (a + c) / 2) / (c - a) / 0.1, ((y1 + y2) / 2 - (b + d) / 2) / (d - b) / 0.1]
        assert offsets == pytest.approx([*away, math.log((x2 - x1) / (c - a)) / 0.2, math.log((y2 - y1) / (d - b)) / 0.2])
    torch.testing.assert_close(decoded(found, anchors), boxes)
    assert torch.isfinite(decoded(torch.full((1, 4), 1e9), anchors[:1].float())).all()


def naive_given(anchors: Tensor, truth: Tensor, label: Tensor, least: float) -> list[int]:
    real = [n for n in range(len(truth)) if label[n] >= 0]
    table = {(n, a): float(pairwise(truth[n][None], anchors[a][None])) for n in real for a in range(len(anchors))}
    found = []
    for a in range(len(anchors)):
        best = max(real, key=lambda n, a=a: table[n, a], default=-1)
        found.append(best if best >= 0 and table[best, a] >= least else -1)
    for n in real:
        mine = max(range(len(anchors)), key=lambda a, n=n: table[n, a])
        if table[n, mine] > 0:
            found[mine] = n
    return found


def example(counts: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    anchors = torch.stack([boxes_of(40, 10 + i) for i in range(len(counts))])
    draws = torch.Generator().manual_seed(9)
    offsets, logits = torch.randn(len(counts), 40, 4, generator=draws).double(), 2 * torch.randn(len(counts), 40, 4, generator=draws).double()
    truth, label = torch.zeros(len(counts), max(counts), 4).double(), torch.full((len(counts), max(counts)), -1)
    for i, count in enumerate(counts):
        truth[i, :count], label[i, :count] = boxes_of(count, 20 + i), torch.randint(3, (count,), generator=draws)
    return anchors, offsets, logits, truth, label


@pytest.mark.parametrize("least", [0.3, 0.5, 0.95])
def test_anchors_are_given_boxes_as_one_by_one(least: float) -> None:
    anchors, _, _, truth, label = example([3, 0, 5])
    found = given(anchors, truth, label, least)
    for i in range(3):
        assert found[i].tolist() == naive_given(anchors[i], truth[i], label[i], least)
    assert (given(anchors[:, :, :], truth[:, :0], label[:, :0], least) == -1).all()


@pytest.mark.parametrize("negatives", [0.5, 3.0, 100.0])
def test_the_loss_is_that_of_single_anchors(negatives: float) -> None:
    anchors, offsets, logits, truth, label = example([3, 0, 5])
    total, count = 0.0, 0
    for i in range(3):
        numbers, log_p = naive_given(anchors[i], truth[i], label[i], 0.4), logits[i].log_softmax(-1)
        chosen = [a for a in range(40) if numbers[a] >= 0]
        others = sorted((float(-log_p[a, 3]) for a in range(40) if numbers[a] < 0), reverse=True)
        total += sum(others[: math.ceil(negatives * len(chosen))])
        for a in chosen:
            total += float(-log_p[a, label[i, numbers[a]]])
            for side in (offsets[i, a] - coded(truth[i, numbers[a]], anchors[i, a])).abs().tolist():
                total += 0.7 * (0.5 * side**2 if side < 1 else side - 0.5)
        count += max(1, len(chosen))
    outputs = {"anchors": anchors, "offsets": offsets, "anchor_logits": logits}
    batch: Batch = {"boxes": truth, "box_label": label}
    objective = AnchorDetection(overlap=0.4, negatives=negatives, box_weight=0.7)
    found = objective.loss(nn.Identity(), lambda part: outputs, batch, Phase("main"))
    assert float(found.total) == pytest.approx(total, rel=1e-9) and int(found.count) == count  # type: ignore[arg-type]
    parts = [
        objective.loss(nn.Identity(), lambda part, i=i: {k: v[i : i + 1] for k, v in outputs.items()}, {k: v[i : i + 1] for k, v in batch.items()}, Phase("main")) for i in range(3)
    ]
    assert float(sum(part.total for part in parts)) == pytest.approx(total, rel=1e-9)


def learned(head: Any, objective: Any, steps: int) -> tuple[Batch, list[Any]]:
    """What a detector finds in a few pictures with squares that it has learned from."""
    torch.manual_seed(0)
    fields = {"kind": "detector", "trunk": {**TRUNK, "classes": 2}, "strides": [4, 8], "neck": "fpn", "head": head, "width": 16, "depth": 1, "norm": "none"}
    model = DetectorConfig.parse(fields).build()
    model.initialise(0)
    image, boxes, label = torch.full((4, 1, 32, 32), 0.5), torch.zeros(4, 2, 4), torch.full((4, 2), -1)
    for i in range(4):
        for n in range(1 + i % 2):
            x, y, kind = 4 + 12 * n, 2 + 5 * i, (i + n) % 2
            image[i, :, y : y + 8, x : x + 8] = float(kind)
            boxes[i, n], label[i, n] = torch.tensor([x, y, x + 8, y + 8.0]), kind
    batch = {"image": image, "boxes": boxes, "box_label": label}
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(steps):
        loss = objective.loss(model, lambda part, **more: call(model, part, **more), batch, Phase("main"))
        optimizer.zero_grad()
        (loss.total / (1 if loss.count is None else loss.count)).backward()
        optimizer.step()
    with torch.no_grad():
        return batch, detections(model.eval()(image=image), 0.5, overlap=0.4)


def all_found(batch: Batch, found: list[Any]) -> None:
    for i, one in enumerate(found):
        real = batch["box_label"][i] >= 0
        assert sorted(one.labels.tolist()) == sorted(batch["box_label"][i][real].tolist())
        assert (pairwise(batch["boxes"][i][real], one.boxes).amax(1) > 0.6).all()


def test_anchors_learn_a_batch() -> None:
    all_found(*learned({"kind": "anchors", "scales": [1.5, 2.5], "ratios": [1.0]}, AnchorDetection(), 120))
