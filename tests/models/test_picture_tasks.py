"""Masks and boxes are told in the picture's own pixels, whatever frame the model sees it in."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ftheta.architectures.architecture import Outputs
from ftheta.core.errors import DataError, UsageError
from ftheta.data.processors.image import ImageProcessor
from ftheta.lifecycle.using import answers
from ftheta.models.model import Model
from observe import subjects
from pictured import encoded

TALL = np.zeros((40, 20), np.uint8)
TALL[10:30, 5:15] = 255
"""A bright rectangle in the dark."""
BOX = [5, 10, 15, 30]


def bright(image: torch.Tensor) -> Outputs:
    """Class 1 where a picture is bright."""
    return Outputs({"logits": torch.cat([0.5 - image, image - 0.5, torch.full_like(image, -9)], 1) * 20})


def around(image: torch.Tensor) -> Outputs:
    """A box around what is bright, surely of class 2; one much like it, less surely; and one of class 0 that is not sure."""
    boxes = []
    for row in image[:, 0] > 0.5:
        down, right = row.any(1).nonzero()[:, 0], row.any(0).nonzero()[:, 0]
        boxes.append([float(right[0]), float(down[0]), float(right[-1]) + 1, float(down[-1]) + 1])
    found = torch.tensor(boxes)[:, None].expand(-1, 3, -1).clone()
    found[:, 1, 2] -= 0.5
    logits = torch.tensor([[-9.0, -9, 3], [-9, -9, 2], [-1, -9, -9]]).expand(len(image), -1, -1)
    return Outputs({"boxes": found, "logits": logits})


def model(kind: str, processor: ImageProcessor) -> Model:
    architecture: Any = subjects("masks" if kind == "image-segmentation" else "boxes").model.architecture
    architecture.forward = bright if kind == "image-segmentation" else around
    return Model(architecture, processor, kind)


FRAMES = {
    "as it is": ImageProcessor((40, 20), 1), "stretched": ImageProcessor((80, 80), 1), "letterbox": ImageProcessor((60, 60), 1, fit="letterbox"),
}


@pytest.mark.parametrize("processor", FRAMES.values(), ids=FRAMES)
def test_a_mask_lies_on_the_picture_as_it_was_given(processor: ImageProcessor, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encoded(TALL))
    processor.labels = ["dark", "bright"]
    answer = model("image-segmentation", processor).predict({"path": str(tmp_path / "x.png")})
    mask = np.array(answer.mask)
    assert mask.shape == (40, 20)
    assert (mask != (TALL > 127)).mean() <= (0 if processor.size == (40, 20) else 0.08)   # resizing softens an edge
    assert answer.shares["bright"] == pytest.approx(0.25, abs=0.04) and answer.labels == ["dark", "bright", "2"]


def test_what_is_cut_off_has_no_class() -> None:
    processor = ImageProcessor((40, 20), 1, crop=(20, 20))
    answer = model("image-segmentation", processor).predict({"pixels": TALL.tolist()})
    mask = np.array(answer.mask)
    assert (mask[:10] == -1).all() and (mask[30:] == -1).all() and np.array_equal(mask[10:30], TALL[10:30] > 127)
    assert sum(answer.shares.values()) == pytest.approx(1) and answer.shares["1"] == pytest.approx(0.5)


@pytest.mark.parametrize("processor", FRAMES.values(), ids=FRAMES)
def test_boxes_are_those_of_the_picture_as_it_was_given(processor: ImageProcessor, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encoded(TALL))
    processor.labels = ["a", "b", "cell"]
    task = model("object-detection", processor)
    answer = task.predict({"path": str(tmp_path / "x.png")})
    assert answer.labels == ["cell"] and answer.scores == pytest.approx([0.9526], abs=1e-4)
    assert np.array(answer.boxes[0]) == pytest.approx(np.array(BOX), abs=0.8)
    assert task.predict({"path": str(tmp_path / "x.png"), "least": 0.2}).labels == ["cell", "a"]
    assert task.predict({"path": str(tmp_path / "x.png"), "overlap": 1.0}).labels == ["cell", "cell"]


def test_says_what_it_found_in_words() -> None:
    masks, boxes = model("image-segmentation", ImageProcessor((40, 20), 1)), model("object-detection", ImageProcessor((40, 20), 1))
    assert masks.task.show(masks.predict({"pixels": TALL.tolist()})) == "40×20 pixels: 0 75.0%, 1 25.0%"
    assert boxes.task.show(boxes.predict({"pixels": TALL.tolist()})) == "2 0.95  5 10 15 30"
    assert boxes.task.show(boxes.predict({"pixels": TALL.tolist(), "least": 0.99})) == "nothing found"


@pytest.mark.parametrize("given", [{}, {"pixels": TALL.tolist(), "data": ""}, {"path": "x.png", "pixels": TALL.tolist()}])
def test_a_picture_is_one_of_a_file_its_contents_and_numbers(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="give one of path, data, pixels"):
        model("object-detection", ImageProcessor((40, 20), 1)).predict(given)


def test_what_is_in_a_file_answers_as_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encoded(TALL))
    task = model("object-detection", ImageProcessor((40, 20), 1))
    assert task.predict({"data": base64.b64encode(encoded(TALL)).decode()}) == task.predict({"path": str(tmp_path / "x.png")})
    with pytest.raises(UsageError, match="data is not base64"):
        task.predict({"data": "no!"})


def test_a_folder_is_all_its_pictures_and_a_bad_one_costs_the_others_nothing(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("a.png", "b.png", "deep/c.jpg", "deep/notes.txt")]
    places[2].parent.mkdir()
    for place in places[:3]:
        place.write_bytes(encoded(TALL))
    places[1].write_bytes(encoded(TALL)[:60])
    places[3].write_text("no picture")
    task = model("object-detection", ImageProcessor((40, 20), 1))
    told = list(answers(task, [str(tmp_path), str(places[0]), str(tmp_path / "none.png")]))
    assert [Path(one.file).name for one in told] == ["a.png", "b.png", "c.jpg", "", ""]
    assert [one.answer is None for one in told] == [False, True, False, False, True]
    assert "b.png: damaged PNG" in told[1].reason and "none.png: cannot be read" in told[4].reason
    assert told[0].answer == told[2].answer == told[3].answer == task.predict({"path": str(places[0])})
    (tmp_path / "empty").mkdir()
    (nothing,) = answers(task, [str(tmp_path / "empty")])
    assert nothing.answer is None and "a folder without a picture" in nothing.reason


def test_an_address_is_fetched_only_if_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encoded(TALL))
    task, address = model("object-detection", ImageProcessor((40, 20), 1)), (tmp_path / "x.png").as_uri()
    with pytest.raises(UsageError, match="nothing is fetched unasked"):
        list(answers(task, [address]))
    found, missing = answers(task, [address, f"{address}.gone"], fetch=True)
    assert found.file == address and found.answer == task.predict({"path": str(tmp_path / "x.png")})
    assert missing.answer is None and f"{address}.gone cannot be read" in missing.reason


def test_grey_models_say_what_to_do_with_colour() -> None:
    colour = np.zeros((40, 20, 3), np.uint8)
    with pytest.raises(DataError, match=r"shape \(40, 20, 3\) does not fit.* a picture file in colour would be made grey"):
        model("object-detection", ImageProcessor((40, 20), 1)).predict({"pixels": colour.tolist()})
