"""The detector: places, boxes from distances, what it says at first; and the necks, written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ftheta.architectures.detector import Detector, DetectorConfig
from ftheta.blocks import DETECTION_HEADS
from ftheta.blocks.detection_head import PlaceHead
from ftheta.core.boxes import pairwise
from ftheta.core.errors import ConfigError
from ftheta.evaluation.probes.small import scatter
from ftheta.inference.detect import detections
from ftheta.objectives.objective import Phase
from ftheta.objectives.set_prediction import SetPrediction

TRUNK = {"kind": "convnet", "channels": 1, "classes": 3, "stages": [{"width": 4, "reduce": 2}, {"width": 6, "reduce": 2}, {"width": 8, "reduce": 2}]}


def detector(**fields: Any) -> Detector:
    config = DetectorConfig.parse({"kind": "detector", "trunk": TRUNK, "width": 8, "depth": 1, "strides": [4, 8], **fields})
    return scatter(config.build(), 0).eval()                                              # type: ignore[return-value]


def test_a_box_for_every_place_of_every_map() -> None:
    outputs = detector()(image=torch.rand(2, 1, 19, 33))                                  # maps of 5×9 and 3×5
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {"boxes": (2, 60, 4), "logits": (2, 60, 3), "places": (2, 60, 3)}
    places = outputs["places"]
    assert places[0, [0, 1, 9, 45, 46, 50]].tolist() == [[2, 2, 4], [6, 2, 4], [2, 6, 4], [4, 4, 8], [12, 4, 8], [4, 12, 8]]
    assert (outputs["boxes"][..., :2] <= places[..., :2]).all() and (outputs["boxes"][..., 2:] >= places[..., :2]).all()


@pytest.mark.parametrize("neck", ["fpn", "pan"])
def test_it_is_what_its_parts_compute_one_after_the_other(neck: str) -> None:
    model, image = detector(neck=neck), torch.rand(2, 1, 16, 24)
    _, fine, coarse = model.trunk.maps(image).values()
    part: Any = model.neck
    upper = part.lateral[1](coarse)
    lower = part.lateral[0](fine) + upper.repeat_interleave(2, 2).repeat_interleave(2, 3)
    maps = [part.smooth[0](lower), part.smooth[1](upper)]
    if neck == "pan":
        maps[1] = part.again[0](maps[1] + part.down[0](maps[0]))
    outputs, start = model(image=image), 0
    for head, found, stride in zip(model.heads.children(), maps, (4, 8), strict=True):
        assert isinstance(head, PlaceHead)
        sides = F.softplus(head.sides(head.box_tower(found))) * stride
        logits = head.classes(head.class_tower(found))
        for row in range(found.shape[2]):
            for column in range(found.shape[3]):
                left, top, right, bottom = sides[:, :, row, column].unbind(1)
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                torch.testing.assert_close(outputs["boxes"][:, start], torch.stack([x - left, y - top, x + right, y + bottom], 1))
                torch.testing.assert_close(outputs["logits"][:, start], logits[:, :, row, column])
                start += 1
    assert start == outputs["boxes"].shape[1]


def test_at_first_everything_is_rare_and_boxes_are_four_strides_wide() -> None:
    model = DetectorConfig.parse({"kind": "detector", "trunk": TRUNK}).build()
    model.initialise(0)
    with torch.no_grad():
        outputs = model.eval()(image=torch.rand(1, 1, 32, 32))
    assert (outputs["logits"].sigmoid() - 0.01).abs().max() < 0.005
    wide = (outputs["boxes"][..., 2] - outputs["boxes"][..., 0]) / outputs["places"][..., 2]
    assert (wide - 4).abs().max() < 0.5


def test_boxes_keep_their_places_in_bfloat16() -> None:
    """At 250 pixels a bfloat16 knows whole numbers only."""
    model, image = detector(strides=[4]), torch.rand(1, 1, 16, 256)
    model.initialise(0)
    exact = model(image=image)["boxes"]
    model.compute_dtype = torch.bfloat16
    assert (model(image=image)["boxes"] - exact).abs().max() < 0.2


def test_queries_learn_a_batch() -> None:
    """Squares, light or dark, one or two a picture: after some steps each is found once, and nothing else, most of them where they are."""
    model = DetectorConfig.parse({
        "kind": "detector", "trunk": {**TRUNK, "classes": 2, "norm": "layernorm"}, "strides": [4], "neck": "projection", "head": {"kind": "queries", "queries": 6, "heads": 2},
        "width": 16, "depth": 2, "norm": "none",
    }).build()
    model.initialise(0)
    image, boxes, label = torch.full((4, 1, 32, 32), 0.5), torch.zeros(4, 2, 4), torch.full((4, 2), -1)
    for i in range(4):
        for n in range(1 + i % 2):
            x, y, kind = 4 + 12 * n, 2 + 5 * i, (i + n) % 2
            image[i, :, y : y + 8, x : x + 8] = float(kind)
            boxes[i, n], label[i, n] = torch.tensor([x, y, x + 8, y + 8.0]), kind
    batch, objective = {"image": image, "boxes": boxes, "box_label": label}, SetPrediction(nothing=0.5)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(450):
        loss = objective.loss(model, lambda part: model(image=part["image"]), batch, Phase("main"))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    with torch.no_grad():
        found = detections(model.eval()(image=image), 0.5, overlap=1.0)
    real = label >= 0
    assert [sorted(one.labels.tolist()) for one in found] == [sorted(label[i][real[i]].tolist()) for i in range(4)]
    common = torch.cat([pairwise(boxes[i][real[i]], one.boxes).amax(1) for i, one in enumerate(found)])
    assert len(common) == 6 and common.mean() > 0.6


def test_queries_that_cannot_be_are_refused() -> None:
    for fields, said in (({"width": 10}, "multiple of 4, got 10"), ({"depth": 0}, "look at nothing"), ({"head": {"kind": "queries", "heads": 3}}, "must be a multiple of heads 3")):
        with pytest.raises(ConfigError, match=said):
            detector(**{"neck": "projection", "head": "queries", **fields})


def test_a_map_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match="strides: the trunk has no map of stride 16, only of 2, 4, 8"):
        detector(strides=[8, 16])


@torch.no_grad()
@pytest.mark.parametrize("head", DETECTION_HEADS.names())
def test_every_head_is_a_program_for_any_number_of_pictures(head):
    trunk = {"kind": "resnet", "channels": 3, "classes": 4, "depths": [1, 1], "widths": [16, 32], "stem_width": 8}
    fields = {"trunk": trunk, "width": 16, "depth": 1, "head": head, **({"neck": "projection"} if head == "queries" else {})}
    model = DetectorConfig.parse(fields).build().eval()
    model.initialise(0)

    class Asked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, image):
            outputs = self.model(image=image)
            return outputs["boxes"], outputs["logits"]

    program = torch.export.export(Asked(), (torch.randn(3, 3, 64, 64),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    image = torch.randn(5, 3, 64, 64)
    for found, expected in zip(program.module()(image), Asked()(image), strict=True):
        assert torch.allclose(found, expected, atol=1e-4)                                 # pixels
