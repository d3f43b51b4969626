"""Two stages: squares cut out of maps against a loop over single points, regions against suppression one by one, and that both stages learn."""

from __future__ import annotations

import math

import pytest
import torch
from tests.objectives.test_anchor_detection import TRUNK, all_found, example, learned
from torch import Tensor, nn

from ftheta.architectures.architecture import Outputs, call
from ftheta.architectures.detector import Detector, DetectorConfig
from ftheta.blocks.anchor_head import decoded
from ftheta.blocks.region_head import Regions, aligned, map_of
from ftheta.core.boxes import pairwise
from ftheta.core.contract import Batch
from ftheta.evaluation.probes.small import scatter
from ftheta.objectives.anchor_detection import AnchorDetection
from ftheta.objectives.objective import Phase
from ftheta.objectives.region_detection import RegionDetection

HEAD = {"kind": "regions", "scales": [1.5, 2.5], "ratios": [1.0], "regions": 12, "pixels": 3, "hidden": 24}


def detector() -> Detector:
    fields = {"kind": "detector", "trunk": TRUNK, "width": 8, "depth": 1, "strides": [4, 8], "head": HEAD, "neck": "fpn"}
    return scatter(DetectorConfig.parse(fields).build(), 0).eval()                        # type: ignore[return-value]


def point(values: Tensor, x: float, y: float) -> Tensor:
    """(C,) a map (C, h, w) between its pixels, as RoIAlign reads it."""
    height, width = values.shape[1:]
    if not (-1 <= x <= width and -1 <= y <= height):
        return torch.zeros(len(values), dtype=values.dtype)
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    left, upper = min(int(x), width - 1), min(int(y), height - 1)
    right, lower = min(left + 1, width - 1), min(upper + 1, height - 1)
    a, b = x - left, y - upper
    above, below = (values[:, row, left] * (1 - a) + values[:, row, right] * a for row in (upper, lower))
    return above * (1 - b) + below * b


@pytest.mark.parametrize(("pixels", "samples"), [(7, 2), (3, 1), (2, 3)])
def test_squares_are_cut_out_as_point_by_point(pixels: int, samples: int) -> None:
    draws = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 20, 30, generator=draws).double(), torch.randn(2, 3, 10, 15, generator=draws).double()]
    regions = torch.tensor([[[0, 0, 120, 80], [3.3, 7.1, 20, 9.9], [100, 60, 120, 80]], [[10, 10, 10, 30], [0, 0, 4, 4], [5.5, 2.2, 118, 79]]]).double()
    level = map_of(regions, (4, 8))
    assert level.tolist() == [[0, 0, 0], [0, 0, 0]]
    large = map_of(regions * 3, (4, 8)).tolist()
    assert large == [[int(math.sqrt((b[2] - b[0]) * (b[3] - b[1])) * 3 >= 14 * 8) for b in row] for row in regions.tolist()] and sum(map(sum, large)) == 2
    for strides in ((4, 8), (1, 2)):                                                      # with the second, large regions are on the coarse map
        inside = regions * (strides[0] / 4)
        found = aligned(maps, strides, inside, pixels, samples)
        for i in range(2):
            for r in range(3):
                x1, y1, x2, y2 = inside[i, r].tolist()
                number = int(math.sqrt((x2 - x1) * (y2 - y1)) >= 14 * strides[1])
                assert int(map_of(inside, strides)[i, r]) == number
                values, stride = maps[number][i], strides[number]
                for row in range(pixels):
                    for column in range(pixels):
                        points = [
                            point(values, (x1 + (column + (s + 0.5) / samples) * (x2 - x1) / pixels) / stride - 0.5,
                                  (y1 + (row + (t + 0.5) / samples) * (y2 - y1) / pixels) / stride - 0.5)
                            for t in range(samples) for s in range(samples)
                        ]
                        torch.testing.assert_close(found[i, r, :, row, column], torch.stack(points).mean(0))


def test_regions_are_the_surest_that_do_not_hide_each_other() -> None:
    head = detector().heads
    assert isinstance(head, Regions)
    draws = torch.Generator().manual_seed(1)
    corner = 20 * torch.rand(2, 30, 2, generator=draws) - 2
    boxes, scores = torch.cat([corner, corner + 4 + 10 * torch.rand(2, 30, 2, generator=draws)], -1), torch.randn(2, 30, generator=draws)
    found = head.surest(boxes, scores, (16, 24))
    for i in range(2):
        clipped = torch.minimum(boxes[i].clamp(min=0), torch.tensor([24.0, 16, 24, 16]))
        kept: list[int] = []
        hidden: list[int] = []
        for place in scores[i].argsort(descending=True).tolist():
            (hidden if any(float(pairwise(clipped[place][None], clipped[k][None])) > 0.7 for k in kept) else kept).append(place)
        assert torch.equal(found[i], clipped[(kept + hidden)[:12]]) and len(kept) < 30


def test_in_training_the_boxes_that_are_there_come_first_and_only_in_training() -> None:
    model, draws = detector(), torch.Generator().manual_seed(2)
    image, head = torch.rand(3, 1, 32, 48, generator=draws), model.heads
    assert isinstance(head, Regions)
    corner = 20 * torch.rand(3, 5, 2, generator=draws)
    truth = torch.cat([corner, corner + 2 + 10 * torch.rand(3, 5, 2, generator=draws)], -1)
    there = [[0, 1, 2, 3, 4], [1, 4], []]
    truth = torch.stack([torch.stack([row[n] if n in mine else torch.zeros(4) for n in range(5)]) for row, mine in zip(truth, there, strict=True)])
    alone = model(image=image)["regions"]
    assert torch.equal(model(image=image, given=truth)["regions"], alone)
    head.training = True                                                                  # of it alone, so that norms stay as they are
    found = model(image=image, given=truth)["regions"]
    for row, mine in enumerate(there):
        assert torch.equal(found[row, : len(mine)], truth[row, mine]) and torch.equal(found[row, len(mine) :], alone[row, : 12 - len(mine)])
    seen: list[Tensor] = []
    batch = {"image": image, "boxes": truth, "box_label": torch.where(truth.sum(-1) > 0, 1, -1)}

    def run(part: Batch, given: Tensor) -> Outputs:
        seen.append(given)
        return call(model, part, given=given)

    found = RegionDetection().loss(model, run, batch, Phase("main"))
    assert torch.equal(seen[0], truth) and torch.isfinite(found.total)


def test_it_is_what_its_parts_compute_one_after_the_other() -> None:
    model, image = detector(), torch.rand(2, 1, 32, 48)
    outputs, head = model(image=image), model.heads
    assert isinstance(head, Regions)
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == {
        "boxes": (12, 4), "logits": (12, 3), "anchors": (240, 4), "offsets": (240, 4), "anchor_logits": (240, 2), "regions": (12, 4), "region_offsets": (12, 4),
        "region_logits": (12, 4),
    }
    maps = model.neck([model.trunk.maps(image)[name] for name in model.names])
    cut = aligned(maps, (4, 8), outputs["regions"], 3, 2).flatten(2)
    silu = nn.SiLU()
    hidden = silu(silu(cut @ head.first.weight.T + head.first.bias) @ head.second.weight.T + head.second.bias)
    torch.testing.assert_close(outputs["region_logits"], hidden @ head.answer.weight.T + head.answer.bias)
    torch.testing.assert_close(outputs["boxes"], decoded(hidden @ head.sides.weight.T + head.sides.bias, outputs["regions"]), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(outputs["logits"].sigmoid(), outputs["region_logits"].softmax(-1)[..., :-1], atol=1e-6, rtol=1e-5)
    assert not outputs["regions"].requires_grad
    model.compute_dtype = torch.bfloat16
    assert torch.isfinite(model(image=image)["boxes"]).all()


def test_the_loss_is_that_of_both_stages_and_parts_are_the_batch() -> None:
    anchors, offsets, logits, truth, label = example([3, 0, 5])
    outputs = {"anchors": anchors, "offsets": offsets, "anchor_logits": logits[..., :2], "regions": anchors.flip(1), "region_offsets": -offsets, "region_logits": logits}
    batch = {"boxes": truth, "box_label": label}
    objective = RegionDetection(overlap=0.4, region_overlap=0.6, region_weight=0.3, box_weight=0.7)
    found = objective.loss(nn.Identity(), lambda part, given: outputs, batch, Phase("main"))
    expected = 0.0
    for prefix, least, weight, names in (("anchors", 0.4, 1.0, label.clamp(max=0)), ("regions", 0.6, 0.3, label)):
        said = {"anchors": outputs[prefix], "offsets": outputs["offsets" if prefix == "anchors" else "region_offsets"],
                "anchor_logits": outputs["anchor_logits" if prefix == "anchors" else "region_logits"]}
        one = AnchorDetection(overlap=least, box_weight=0.7).loss(nn.Identity(), lambda part, said=said: said, {"boxes": truth, "box_label": names}, Phase("main"))
        expected += weight * float(one.total) / float(one.count)                          # type: ignore[arg-type]
    assert float(found.total) == pytest.approx(expected, rel=1e-9)
    rows = [[{k: v[i : i + 1] for k, v in values.items()} for values in (outputs, batch)] for i in range(3)]
    parts = [objective.embed(nn.Identity(), lambda part, given, said=said: said, mine, Phase("main")) for said, mine in rows]
    joined = objective.couple({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, Phase("main"))
    torch.testing.assert_close(joined.total, found.total)


def test_both_stages_learn_a_batch() -> None:
    all_found(*learned(HEAD, RegionDetection(), 150))
