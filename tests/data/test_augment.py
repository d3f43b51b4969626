"""Augmentations: the same for a row in any micro-batch, and what they do to a picture, checked against numpy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ftheta.core.config import Slot
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError
from ftheta.core.random import Draws
from ftheta.data.augment import AUGMENTATIONS
from ftheta.data.augment.augmentation import Augmentation
from ftheta.data.augment.colour import Erase
from ftheta.data.augment.moving import Affine, Flip, Shift
from ftheta.data.source import Mates

B = 70
EACH = [Slot(AUGMENTATIONS).parse(name) for name in AUGMENTATIONS.names()]


def pictures(height: int = 9, width: int = 7, channels: int = 3) -> torch.Tensor:
    return torch.rand(B, channels, height, width, generator=torch.Generator().manual_seed(0))


NONE = Mates(None, lambda slots: {})


def mates(batch: Batch) -> Mates:
    """All rows of the step, which `batch` is."""
    return Mates(B, lambda slots: {name: value[slots] for name, value in batch.items()})


def draws(rows: torch.Tensor | None = None, step: int = 0) -> Draws:
    return Draws(torch.arange(B) if rows is None else rows, B, "test", step)


@pytest.mark.parametrize("change", EACH, ids=lambda change: change.kind)
@pytest.mark.parametrize("micro", [1, 3, 32])
def test_a_row_looks_the_same_in_any_micro_batch(change: Augmentation, micro: int) -> None:
    step = {"image": pictures(), "label": torch.arange(B)}
    whole = change(step, draws(), mates(step))
    for rows in torch.randperm(B).split(micro):
        part = change({name: value[rows] for name, value in step.items()}, draws(rows), mates(step))
        assert torch.equal(part["image"], whole["image"][rows]) and torch.equal(part["label"], whole["label"][rows])


@pytest.mark.parametrize("change", EACH, ids=lambda change: change.kind)
def test_changes_pictures_anew_every_step_and_not_in_place(change: Augmentation) -> None:
    step = {"image": pictures(), "label": torch.arange(B)}
    before = step["image"].clone()
    first, second = (change(step, draws(step=number), mates(step))["image"] for number in (0, 1))
    assert torch.equal(step["image"], before) and first.shape == before.shape and first.dtype == torch.float32
    assert not torch.equal(first, before) and not torch.equal(first, second)
    assert first.min() >= 0 and first.max() <= 1


def test_shift_moves_by_every_whole_number_of_pixels_and_fills_with_zero() -> None:
    image = pictures()
    moved = Shift(pixels=1)({"image": image}, draws(), NONE)["image"]
    seen = set()
    for before, after in zip(image.numpy(), moved.numpy(), strict=True):
        padded = np.pad(before, ((0, 0), (1, 1), (1, 1)))
        fits = [(i, j) for i in range(3) for j in range(3) if np.array_equal(padded[:, i : i + 9, j : j + 7], after)]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 9


def test_flip_mirrors_about_half() -> None:
    image = pictures()
    flipped = Flip()({"image": image}, draws(), NONE)["image"].numpy()
    mirrored = [np.array_equal(after, before[:, :, ::-1]) for before, after in zip(image.numpy(), flipped, strict=True)]
    same = [np.array_equal(after, before) for before, after in zip(image.numpy(), flipped, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True)) and 20 < sum(mirrored) < 50
    assert torch.equal(Flip(probability=1.0)({"image": image}, draws(), NONE)["image"], image.flip(3))


def test_erase_blanks_one_rectangle_of_the_right_area() -> None:
    image = torch.ones(B, 1, 30, 20)
    erased = Erase(smallest=0.1, largest=0.3)({"image": image}, draws(), NONE)["image"]
    areas = []
    for picture in erased[:, 0].numpy():
        rows, columns = np.nonzero(picture == 0)
        if len(rows):
            tall, wide = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
            assert tall * wide == len(rows)
            areas.append(len(rows) / 600)
    assert 20 < len(areas) < 50 and min(areas) > 0.08 and max(areas) < 0.33 and max(areas) - min(areas) > 0.1


def test_affine_without_amounts_changes_nothing() -> None:
    image = pictures()
    same = Affine(degrees=0.0, scale=0.0, shear=0.0)({"image": image}, draws(), NONE)["image"]
    torch.testing.assert_close(same, image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("change", [Affine(degrees=30.0, scale=0.2, shear=20.0, shift=2.0), Affine(degrees=0.0, scale=0.0, shear=0.0, shift=2.0)], ids=str)
def test_affine_moves_mass_where_its_formula_says(change: Affine) -> None:
    """The centre of mass of a blob, moved by x ↦ scale · R · S · x + shift with this row's numbers."""
    size, blob = 41, (5.0, -7.0)                                                          # pixels right of and below the centre
    axis = torch.arange(size) - (size - 1) / 2
    image = (-((axis[None, :] - blob[0]) ** 2 + (axis[:, None] - blob[1]) ** 2) / 8).exp().expand(B, 1, size, size)
    moved = change({"image": image}, draws(), NONE)["image"][:, 0].double()
    mass = moved.sum((1, 2))
    found = torch.stack([(moved * axis).sum((1, 2)) / mass, (moved * axis[:, None]).sum((1, 2)) / mass], 1)
    amounts = draws().uniform(5).double() * 2 - 1
    for row, (turn, slant, scale, down, right) in enumerate(amounts.tolist()):
        angle = math.radians(change.degrees) * turn
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        shear = np.array([[1, -math.tan(math.radians(change.shear) * slant)], [0, 1]])
        expected = (1 + change.scale * scale) * rotation @ shear @ np.array(blob) + change.shift * np.array([right, down])
        np.testing.assert_allclose(found[row].numpy(), expected, atol=0.05)


def test_catalogue_refuses_unknown_names_and_amounts() -> None:
    with pytest.raises(ConfigError, match="did you mean 'flip'"):
        Slot(AUGMENTATIONS).parse("flop")
    with pytest.raises(ConfigError, match="pixels"):
        Slot(AUGMENTATIONS).parse({"kind": "shift", "pixels": 0})
