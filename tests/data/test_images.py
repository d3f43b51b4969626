"""Pictures at hand: exact values, stratified splits, fingerprints that follow the content."""

from __future__ import annotations

import pytest
import torch

from ftheta.core.errors import DataError
from ftheta.data.images import ImageDataset
from ftheta.data.split import stratified


def some(n: int = 40) -> ImageDataset:
    generator = torch.Generator().manual_seed(0)
    return ImageDataset(torch.randint(256, (n, 3, 4, 5), dtype=torch.uint8, generator=generator), torch.arange(n) % 4, ("a", "b", "c", "d"))


def test_batches_are_float32_in_0_to_1() -> None:
    data = some()
    data.images[7, 0, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    batch = data.batch(torch.tensor([7, 3, 7]))
    assert batch["image"].shape == (3, 3, 4, 5) and batch["image"].dtype == torch.float32
    assert batch["image"][0, 0, 0, :2].tolist() == [0.0, 1.0]
    assert torch.equal((batch["image"] * 255).round().byte(), data.images[[7, 3, 7]])
    assert batch["label"].tolist() == [3, 3, 3] and batch["label"].dtype == torch.int64


def test_ports_say_the_sizes() -> None:
    ports = some().ports
    assert ports.gives == {"image": "image B C H W", "label": "label B"} and ports.sizes == {"C": 3, "K": 4, "H": 4, "W": 5}


def test_fingerprint_follows_every_part_of_the_content() -> None:
    data, same = some(), some()
    assert data.fingerprint == same.fingerprint
    changed = some()
    changed.images[39, 2, 3, 4] ^= 1
    relabelled = ImageDataset(some().images, some().labels.flip(0), data.names)
    reshaped = ImageDataset(some().images.reshape(40, 3, 5, 4), some().labels, data.names)
    renamed = ImageDataset(some().images, some().labels, ("a", "b", "c", "e"))
    assert len({d.fingerprint for d in (data, changed, relabelled, reshaped, renamed, data.subset(torch.arange(39)))}) == 6


def test_stratified_parts_are_disjoint_and_proportional() -> None:
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)
    parts = stratified(labels, {"test": 0.2, "validation": 0.1}, 0)
    assert [torch.bincount(labels[rows], minlength=3).tolist() for rows in parts.values()] == [[20, 10, 2], [10, 5, 1]]
    both = torch.cat(list(parts.values()))
    assert len(both.unique()) == len(both)
    again, other = stratified(labels, {"test": 0.2, "validation": 0.1}, 0), stratified(labels, {"test": 0.2, "validation": 0.1}, 1)
    assert all(torch.equal(parts[name], again[name]) for name in parts) and not torch.equal(parts["test"], other["test"])


def test_whole_share_takes_every_row() -> None:
    labels = torch.arange(7) % 3
    assert stratified(labels, {"all": 1.0}, 5)["all"].tolist() == list(range(7))


@pytest.mark.parametrize(
    "images, labels",
    [
        (torch.zeros(2, 1, 3, 3), torch.zeros(2)), (torch.zeros(2, 3, 3, dtype=torch.uint8), torch.zeros(2)),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(3)), (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.tensor([0, 4])),
    ],
)
def test_refuses_what_is_no_labelled_picture(images: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(DataError):
        ImageDataset(images, labels, ("a", "b", "c", "d"))
