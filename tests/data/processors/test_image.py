"""Pictures in: every accepted form gives the same tensor, everything else an error that says what is wrong. And there and back."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ftheta.core.errors import DataError, FolderError
from ftheta.data.images import ImageDataset
from ftheta.data.processors.image import FILE, ImageProcessor

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
    assert "picture 1" in str(caught.value)


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
