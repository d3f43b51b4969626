"""Pictures in: every accepted form gives the same tensor, everything else an error that says what is wrong. And there and back."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.core.errors import DataError, FolderError
from ftheta.data.images import ImageDataset
from ftheta.data.processors.image import FILE, ImageProcessor
from pictured import encoded

COLOUR = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
GREY = COLOUR[:, :, 0]


def colour(**fields: object) -> ImageProcessor:
    return ImageProcessor((5, 4), 3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5), labels=("cat", "dog"), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "form", [COLOUR, COLOUR.transpose(2, 0, 1), COLOUR.tolist(), COLOUR / 255, torch.from_numpy(COLOUR), COLOUR.astype(np.int64), (COLOUR / 255).tolist()],
    ids=["bytes", "channels first", "lists", "fractions", "tensor", "integers", "fraction lists"],
)
def test_every_form_of_a_picture_gives_the_same_tensor(form: object) -> None:
    image = colour().encode([form])["image"]
    expected = (COLOUR.transpose(2, 0, 1) / 255 - np.array([0.5, 0.4, 0.3])[:, None, None]) / np.array([0.2, 0.25, 0.5])[:, None, None]
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image[0].numpy(), expected, atol=2e-6)


def test_training_and_serving_normalise_alike() -> None:
    images = torch.from_numpy(np.stack([COLOUR, COLOUR[::-1]]).transpose(0, 3, 1, 2).copy())
    data = ImageDataset(images, torch.tensor([0, 1]), ("cat", "dog"))
    trained = colour().normalise(data.batch(torch.tensor([0, 1])))
    served = colour().encode([image.numpy() for image in images])
    assert torch.equal(trained["image"], served["image"]) and trained["label"].tolist() == [0, 1]


@pytest.mark.parametrize("size, channels, shape", [((8, 8), 1, (8, 8)), ((8, 8), 1, (8, 8, 1)), ((3, 3), 3, (3, 3, 3)), (None, 1, (6, 2)), (None, 3, (3, 9, 2))])
def test_shapes_with_and_without_channels(size: tuple[int, int] | None, channels: int, shape: tuple[int, ...]) -> None:
    image = ImageProcessor(size, channels).encode([np.zeros(shape, np.uint8)])["image"]
    assert image.shape[1] == channels and image.ndim == 4 and image.shape[2:] == ((8, 8) if size == (8, 8) else (3, 3) if size else shape[-2:])


def test_a_square_of_three_is_taken_channels_first() -> None:
    picture = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert torch.equal((ImageProcessor((3, 3), 3).encode([picture])["image"][0] * 255).round().byte(), torch.from_numpy(picture))


@pytest.mark.parametrize(
    "picture, said",
    [
        (np.zeros((4, 5, 3), np.uint8), r"\(4, 5, 3\) does not fit: expected \(5, 4, 3\) or \(3, 5, 4\)"), (GREY, r"\(5, 4\) does not fit"),
        (COLOUR.astype(int) * 2, "must be 0 to 255"), (COLOUR.astype(float), "fractions must be 0 to 1"), (COLOUR / 255 - 0.1, "fractions must be 0 to 1"),
        (np.full((5, 4, 3), np.nan), "from nan"), ("/etc/passwd", "got text"), ([[1, 2], [3]], "not an array"), ([], "array of numbers"), (None, "array of numbers"),
        ([["a", "b"]], "array of numbers"), (Path("/nowhere/x.png"), "cannot be read"), (b"GIF89a nonsense", "not a picture file"),
    ],
)
def test_what_is_no_fitting_picture_is_named(picture: object, said: str) -> None:
    if isinstance(picture, Path | bytes):
        pytest.importorskip("PIL")
    with pytest.raises(DataError, match=said) as caught:
        colour().encode([COLOUR, picture])
    assert (str(picture) if isinstance(picture, Path) else "picture 1") in str(caught.value)


def test_refuses_no_pictures_and_several_sizes() -> None:
    with pytest.raises(DataError, match="no pictures"):
        colour().encode([])
    with pytest.raises(DataError, match="one size, got 2×3, 3×2"):
        ImageProcessor(None, 1).encode([np.zeros((2, 3)), np.zeros((3, 2))])


def test_picture_files_become_the_size_and_colour_wanted(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(COLOUR).save(tmp_path / "x.png")
    exact = colour().encode([COLOUR])["image"]
    assert torch.equal(colour().encode([tmp_path / "x.png"])["image"], exact)
    assert torch.equal(colour().encode([(tmp_path / "x.png").read_bytes()])["image"], exact)
    large = pillow.fromarray(np.full((50, 40, 3), 200, np.uint8))
    large.save(tmp_path / "y.png")
    image = ImageProcessor((5, 4), 1).encode([tmp_path / "y.png"])["image"]
    assert image.shape == (1, 1, 5, 4) and torch.allclose(image, torch.tensor(200 / 255))


def test_a_picture_bomb_is_refused_before_it_is_decoded() -> None:
    pillow = pytest.importorskip("PIL.Image")
    sink = io.BytesIO()
    pillow.new("1", (9000, 9000)).save(sink, "PNG")
    assert len(sink.getvalue()) < 100_000
    with pytest.raises(DataError, match="9000×9000"):
        colour().encode([sink.getvalue()])


def test_there_and_back(tmp_path: Path) -> None:
    for processor in (colour(), ImageProcessor(None, 1)):
        facts = json.loads(json.dumps(processor.dump()))
        back = ImageProcessor.load(facts, tmp_path)
        assert back.dump() == processor.dump() and facts["kind"] == "image"
    assert torch.equal(ImageProcessor.load(colour().dump(), tmp_path).encode([COLOUR])["image"], colour().encode([COLOUR])["image"])
    assert [colour().label(i) for i in range(3)] == ["cat", "dog", "2"]


def test_hugging_face_reads_our_file_and_we_read_theirs(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("PIL")
    for name, data in colour().files().items():
        (tmp_path / name).write_bytes(data)
    theirs = transformers.models.vit.image_processing_pil_vit.ViTImageProcessorPil.from_pretrained(tmp_path)
    image = theirs(COLOUR, input_data_format="channels_last", return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(image, colour().encode([COLOUR])["image"], atol=1e-5, rtol=0)
    back = ImageProcessor.load({"labels": ["cat", "dog"], "channels": 3}, tmp_path)
    assert torch.allclose(back.encode([COLOUR])["image"], colour().encode([COLOUR])["image"]) and back.size == (5, 4)


@pytest.mark.parametrize(
    "facts, size",
    [
        ({"size": 224}, (224, 224)), ({"size": {"shortest_edge": 224}}, (224, 224)), ({"size": {"height": 3, "width": 4}}, (3, 4)), ({}, None),
        ({"size": 256, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}, (256, 256)),
    ],
)
def test_sizes_as_other_files_say_them(tmp_path: Path, facts: dict, size: tuple[int, int] | None) -> None:
    (tmp_path / FILE).write_text(json.dumps(facts))
    assert ImageProcessor.load({}, tmp_path).size == size


def test_damaged_facts_are_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"size": {"longest_edge": 3}}')
    with pytest.raises(FolderError, match="not understood"):
        ImageProcessor.load({}, tmp_path)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(FolderError, match="cannot be read"):
        ImageProcessor.load({}, tmp_path)
    with pytest.raises(FolderError, match="image_mean"):
        ImageProcessor(None, 3, mean=(0.1, 0.2))


# frames

FRAMES = [
    {"size": (20, 20), "fit": "crop"}, {"size": (24, 24), "fit": "crop", "crop": (17, 17)}, {"size": (16, 28), "crop": (15, 20)}, {"size": (20, 24), "resample": "bicubic"},
]


@pytest.mark.parametrize("fields", FRAMES, ids=str)
@pytest.mark.parametrize("shape", [(31, 50), (50, 31), (20, 20), (7, 90)])
def test_frames_are_those_of_transformers(tmp_path: Path, fields: dict, shape: tuple[int, int]) -> None:
    """Our file, read by their processor, gives what ours gives, and what comes back from it is ours."""
    auto = pytest.importorskip("transformers.models.auto.image_processing_auto")
    pillow = pytest.importorskip("PIL.Image")
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    pillow.fromarray(picture).save(tmp_path / "x.png")
    ours = ImageProcessor(channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5), **fields)
    for name, data in ours.files().items():
        (tmp_path / name).write_bytes(data)
    theirs = auto.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(pillow.open(tmp_path / "x.png"), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours.encode([tmp_path / "x.png"])["image"], theirs, atol=1e-5, rtol=0)
    back = ImageProcessor.load({"channels": 3}, tmp_path)
    torch.testing.assert_close(back.encode([tmp_path / "x.png"])["image"], theirs, atol=1e-5, rtol=0)
    assert ImageProcessor.load(json.loads(json.dumps(ours.dump())), tmp_path).dump() == ours.dump()


@pytest.mark.parametrize(
    "kind, facts",
    [
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 28}, "crop_pct": 0.875}), ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}, "crop_pct": 0.875}),
        ("EfficientNetImageProcessor", {"size": {"height": 24, "width": 24}, "include_top": True, "rescale_offset": False, "resample": 0}),
        ("EfficientNetImageProcessor", {"size": {"height": 24, "width": 24}, "include_top": False, "rescale_offset": True, "rescale_factor": 1 / 127.5}),
        ("DeiTImageProcessor", {"size": {"height": 26, "width": 26}, "crop_size": {"height": 22, "width": 22}, "do_center_crop": True, "resample": 3}),
        ("MobileNetV2ImageProcessor", {"size": {"shortest_edge": 25}, "crop_size": {"height": 22, "width": 22}, "do_center_crop": True}),
        ("ViTImageProcessor", {"size": {"height": 20, "width": 24}, "do_normalize": False}),
    ],
)
def test_files_of_other_families_give_their_tensors(tmp_path: Path, kind: str, facts: dict) -> None:
    auto = pytest.importorskip("transformers.models.auto.image_processing_auto")
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(np.random.default_rng(2).integers(0, 256, (33, 47, 3), np.uint8)).save(tmp_path / "x.png")
    said = {"resample": 2, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5], "do_resize": True, "do_rescale": True, "do_normalize": True, **facts}
    (tmp_path / FILE).write_text(json.dumps({"image_processor_type": kind, "rescale_factor": 1 / 255, **said}))
    theirs = auto.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(pillow.open(tmp_path / "x.png"), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ImageProcessor.load({}, tmp_path).encode([tmp_path / "x.png"])["image"], theirs, atol=2e-5, rtol=0)


def test_bars_have_no_file_and_are_kept_in_our_facts(tmp_path: Path) -> None:
    processor = ImageProcessor((20, 30), fit="letterbox")
    assert processor.files() == {} and ImageProcessor.load(processor.dump(), tmp_path).dump() == processor.dump()
    image = processor.encode([encoded(np.full((10, 10, 3), 200, np.uint8))])["image"][0]
    assert (image[:, :, :5] == 0).all() and (image[:, :, 25:] == 0).all() and torch.allclose(image[:, :, 5:25], torch.tensor(200 / 255))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    picture=st.tuples(st.integers(1, 90), st.integers(1, 90)), size=st.tuples(st.integers(8, 64), st.integers(8, 64)), fit=st.sampled_from(["stretch", "crop", "letterbox"]),
    crop=st.booleans(), corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_boxes_come_back_in_the_pictures_own_pixels(picture: tuple[int, int], size: tuple[int, int], fit: str, crop: bool, corners: list[float]) -> None:
    frame = ImageProcessor(size, fit=fit, crop=(size[0] - 3, size[1] - 2) if crop else None).frame(picture)   # type: ignore[arg-type]
    x1, x2, y1, y2 = *sorted(corners[:2]), *sorted(corners[2:])
    box = torch.tensor([x1 * picture[1], y1 * picture[0], x2 * picture[1], y2 * picture[0]], dtype=torch.float64)
    torch.testing.assert_close(frame.back(frame.boxes(box)), box, atol=1e-9, rtol=0)
    whole = frame.boxes(torch.tensor([0.0, 0.0, picture[1], picture[0]]))
    if fit == "letterbox" and not crop:
        assert whole.min() >= 0 and whole[2] <= size[1] and whole[3] <= size[0] and (whole[2] - whole[0] > size[1] - 1 or whole[3] - whole[1] > size[0] - 1)


def test_a_white_square_is_where_its_box_says() -> None:
    """Laid into every sort of frame, cropped as in training, and back."""
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[20:50, 30:60] = 255
    for fields in ({"size": (32, 32)}, {"size": (32, 32), "fit": "crop"}, {"size": (32, 32), "fit": "letterbox"}, {"size": (40, 40), "fit": "letterbox", "crop": (32, 32)}):
        processor = ImageProcessor(**fields)                                              # type: ignore[arg-type]
        bright = processor.encode([encoded(picture)])["image"][0, 0] > 0.5
        rows, columns = bright.nonzero().unbind(1)
        x1, y1, x2, y2 = processor.frame((60, 80)).boxes(torch.tensor([30.0, 20.0, 60.0, 50.0])).tolist()
        assert abs(columns.min() - x1) <= 1 and abs(columns.max() + 1 - x2) <= 1 and abs(rows.min() - y1) <= 1 and abs(rows.max() + 1 - y2) <= 1


def test_the_middle_is_taken_of_masks_and_boxes_too() -> None:
    processor = ImageProcessor((10, 12), 1, crop=(6, 4))
    mask = torch.arange(120).view(1, 10, 12)
    boxes = torch.tensor([[[3.0, 1.0, 9.0, 5.0], [0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 0.0, 0.0]]])
    found = processor.finish({"image": mask[:, None].float(), "mask": mask, "boxes": boxes, "box_label": torch.tensor([[1, 2, -1]])})
    assert torch.equal(found["mask"][0], mask[0, 2:8, 4:8]) and torch.equal(found["image"][0, 0], mask[0, 2:8, 4:8].float())
    assert found["boxes"].tolist() == [[[0, 0, 4, 3], [0, 0, 0, 0], [0, 0, 0, 0]]] and found["box_label"].tolist() == [[1, -1, -1]]
    with pytest.raises(DataError, match="too few to take 6×4"):
        ImageProcessor(None, 1, crop=(6, 4)).encode([np.zeros((5, 9))])


@pytest.mark.parametrize("fields, said", [({"crop": (9, 9), "size": (8, 8)}, "larger than size"), ({"fit": "squeeze"}, "fit is one of"), ({"resample": "best"}, "resample one of")])
def test_frames_that_cannot_be_are_refused(fields: dict, said: str) -> None:
    with pytest.raises(FolderError, match=said):
        ImageProcessor(**fields)
