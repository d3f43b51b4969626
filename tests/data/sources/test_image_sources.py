"""The digit sources: their content against independent readings, splits, and files that are not what they should be."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from ftheta.core.errors import DataError
from ftheta.data.images import ImageDataset
from ftheta.data.sources import images as sources
from ftheta.data.sources.images import MNIST, Digits, divide, read_idx


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def test_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    parts = Digits().splits(tmp_path, 0)
    assert {name: len(part) for name, part in parts.items()} == {"train": 1258, "validation": 180, "test": 359}
    assert Digits().ports() == parts["train"].ports
    bunch = datasets.load_digits()
    pictures = {}
    for picture, label in zip(bunch.images, bunch.target, strict=True):
        pictures.setdefault(picture.tobytes(), []).append(int(label))
    total = 0
    for part in parts.values():
        batch = part.batch(torch.arange(len(part)))
        for image, label in zip((batch["image"][:, 0] * 16).round().double().numpy(), batch["label"].tolist(), strict=True):
            assert label in pictures[image.tobytes()]
        total += len(part)
    assert total == 1797


def test_digits_split_depends_on_its_own_seed_and_is_stratified(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    a, b, c = Digits().splits(tmp_path, 0), Digits().splits(tmp_path, 1), Digits(split_seed=1).splits(tmp_path, 0)
    assert a["test"].fingerprint == b["test"].fingerprint != c["test"].fingerprint
    counts = torch.bincount(a["test"].batch(torch.arange(len(a["test"])))["label"])
    assert counts.min() >= 34 and counts.max() <= 37
    assert "validation" not in Digits(validation=0.0).splits(tmp_path, 0)


def test_mnist_keeps_the_official_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    for part, n in (("train", 200), ("t10k", 30)):
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(generator.integers(0, 256, (n, 28, 28), np.uint8)))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx((np.arange(n) % 10).astype(np.uint8)))
    monkeypatch.setattr(sources, "locate", lambda name: tmp_path)
    parts = MNIST(validation=0.1).splits(tmp_path, 0)
    assert {name: len(part) for name, part in parts.items()} == {"train": 180, "validation": 20, "test": 30}
    assert parts["test"].ports == MNIST().ports()
    test = parts["test"].batch(torch.arange(30))
    with gzip.open(tmp_path / "t10k-images-idx3-ubyte.gz") as file:
        pixels = file.read()[16:]
    assert (test["image"] * 255).round().byte().numpy().tobytes() == pixels and test["label"].tolist() == [i % 10 for i in range(30)]


@pytest.mark.parametrize(
    "data, said",
    [
        (b"no gzip", "cannot be read"), (idx(np.zeros((2, 2), np.uint8)), "with 3 dimensions"), (idx(np.zeros((2, 2, 2), np.uint8))[:-12], "cannot be read"),
        (gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 2, 2, 2) + b"1234567"), "7 follow"), (gzip.compress(b"\0\0\x08\x03"), "not an IDX"),
        (gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**31, 4) + b"1"), "1 follow"),
    ],
    ids=range(6),                                                                         # the bytes hold the time of day
)
def test_damaged_idx_files_are_named(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.gz").write_bytes(data)
    with pytest.raises(DataError, match=said) as caught:
        read_idx(tmp_path / "x.gz", 3)
    assert "x.gz" in str(caught.value)


def test_shares_must_leave_something() -> None:
    data = ImageDataset(torch.zeros(10, 1, 2, 2, dtype=torch.uint8), torch.zeros(10), ("0",))
    with pytest.raises(DataError, match="test and validation leave nothing"):
        divide(data, {"test": 0.5, "validation": 0.5}, 0)


@pytest.mark.parametrize("few", [5, 23, 100])
def test_few_pictures_are_of_all_classes(tmp_path: Path, few: int) -> None:
    whole, part = (Digits(pictures=count).splits(tmp_path, 0) for count in (None, few))
    counts = torch.bincount(part["train"].labels, minlength=10)  # type: ignore[attr-defined]
    assert int(counts.sum()) == few and int(counts.max() - counts.min()) <= 1
    assert part["test"].fingerprint == whole["test"].fingerprint and part["validation"].fingerprint == whole["validation"].fingerprint
    known = {bytes(picture.numpy()) for picture in whole["train"].images}  # type: ignore[attr-defined]
    assert all(bytes(picture.numpy()) in known for picture in part["train"].images)  # type: ignore[attr-defined]


def test_more_pictures_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.source.pictures is 2,000, and only [\d,]+ are left to train on"):
        Digits(pictures=2000).splits(tmp_path, 0)
