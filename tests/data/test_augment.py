"""Augmentations: the same for a row in any micro-batch, and what they do to a picture, checked against numpy and by hand."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from ftheta.core.config import Slot
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError
from ftheta.core.random import Draws
from ftheta.data.augment import AUGMENTATIONS, rand
from ftheta.data.augment.augmentation import LEAST, Augmentation
from ftheta.data.augment.bending import Elastic
from ftheta.data.augment.colour import Colour, Erase
from ftheta.data.augment.mixing import CutMix, MixUp, Mosaic
from ftheta.data.augment.moving import Affine, Flip, ResizedCrop, Shift
from ftheta.data.augment.rand import RandAugment
from ftheta.data.images import ImageDataset
from ftheta.data.source import Mates, Shuffled
from ftheta.objectives.classification import Classification
from ftheta.objectives.objective import Phase

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


# new values for pixels


def test_colours_change_as_in_hsv_and_by_the_luma() -> None:
    """Pixel by pixel with colorsys, by this row's numbers."""
    image = pictures(4, 3)
    changed = Colour(brightness=0.5, contrast=0.3, saturation=0.7, hue=0.2, probability=0.9)({"image": image}, draws(), NONE)["image"]
    amounts = draws().uniform(5).double()
    for row, picture in enumerate(image.double().numpy()):
        light, contrast, saturation, hue = (amounts[row, :4] * 2 - 1).tolist()
        expected = picture
        if amounts[row, 4] < 0.9:
            weights = np.array([0.299, 0.587, 0.114])
            expected = (expected * (1 + 0.5 * light)).clip(0, 1)
            middle = np.tensordot(weights, expected, 1).mean()
            expected = (middle + (expected - middle) * (1 + 0.3 * contrast)).clip(0, 1)
            grey = np.tensordot(weights, expected, 1)
            expected = (grey + (expected - grey) * (1 + 0.7 * saturation)).clip(0, 1)
            for i, j in np.ndindex(4, 3):
                h, s, v = colorsys.rgb_to_hsv(*expected[:, i, j])
                expected[:, i, j] = colorsys.hsv_to_rgb((h + 0.2 * hue) % 1, s, v)
        np.testing.assert_allclose(changed[row].numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("number, name", enumerate(["Brightness", "Contrast", "Color", "Sharpness"]))
def test_rand_changes_values_as_pillow_does(number: int, name: str) -> None:
    enhance = pytest.importorskip("PIL.ImageEnhance")
    image = (pictures(12, 11) * 255).round()
    amount = torch.linspace(-1, 1, B)
    found = rand.PIXELS[number](image / 255, amount[:, None, None, None]) * 255
    for row in range(B):
        picture = PIL.Image.fromarray(image[row].byte().numpy().transpose(1, 2, 0))
        theirs = np.asarray(getattr(enhance, name)(picture).enhance(1 + 0.9 * float(amount[row]))).transpose(2, 0, 1).astype(float)
        assert np.abs(found[row].numpy() - theirs).max() <= 2.01                           # pillow rounds in between


def test_rand_posterises_solarises_and_equalises_as_pillow_does() -> None:
    ops = pytest.importorskip("PIL.ImageOps")
    image = (pictures(12, 11) ** 2 * 255).round()
    strength = torch.full((B, 1, 1, 1), 0.5)
    posterised, solarised, stretched, equalised = (change(image / 255, strength) * 255 for change in rand.PIXELS[4:])
    for row in range(B):
        picture = PIL.Image.fromarray(image[row].byte().numpy().transpose(1, 2, 0))
        for found, theirs, slack in (
            (posterised, ops.posterize(picture, 6), 0.01), (solarised, ops.solarize(picture, 128), 0.01), (stretched, ops.autocontrast(picture), 1.01),
            (equalised, ops.equalize(picture), 0.01),
        ):
            assert np.abs(found[row].numpy() - np.asarray(theirs).transpose(2, 0, 1)).max() <= slack


# moves: masks and boxes go with their pictures

MOVES = st.one_of(
    st.builds(lambda p, e: Shift(pixels=p, edge=e), st.integers(1, 8), st.sampled_from(["black", "mirror"])),
    st.builds(lambda a: Flip(axis=a), st.sampled_from(["horizontal", "vertical"])),
    st.builds(lambda d, s, h, m: Affine(degrees=d, scale=s, shear=h, shift=m), st.floats(0, 180), st.floats(0, 0.5), st.floats(0, 30), st.floats(0, 6)),
    st.builds(lambda low, size: ResizedCrop(smallest=low, size=size), st.floats(0.2, 1.0), st.sampled_from([None, (24, 20), (40, 33)])),
    st.builds(lambda a, g: Elastic(amount=a, grid=g), st.floats(0.001, 0.1), st.integers(2, 5)),
    st.builds(lambda c, s: RandAugment(count=c, strength=s), st.integers(1, 3), st.floats(0.05, 1.0)),
    st.builds(lambda low, c: Mosaic(smallest=low, centre=c), st.floats(0.4, 1.0), st.floats(0, 0.45)),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(change=MOVES, step=st.integers(0, 1000), corner=st.tuples(st.integers(0, 20), st.integers(0, 16)), size=st.tuples(st.integers(3, 12), st.integers(3, 12)))
def test_a_moved_box_bounds_its_object_and_its_mask(change: Augmentation, step: int, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Every pixel of class 1 in a moved mask lies in the moved box, and what is left of a box that was left out is little."""
    count, (height, width) = 6, (32, 28)
    bottom, right = min(height, corner[0] + size[0]), min(width, corner[1] + size[1])
    mask = torch.zeros(count, height, width, dtype=torch.long)
    mask[:, corner[0] : bottom, corner[1] : right] = 1
    boxes = torch.tensor([[corner[1], corner[0], right, bottom], [0, 0, 0, 0]], dtype=torch.float32).expand(count, 2, 4)
    batch = {"image": mask[:, None].float().expand(-1, 3, -1, -1), "mask": mask, "boxes": boxes, "box_label": torch.tensor([[0, -1]]).expand(count, 2)}
    found = change(batch, Draws(torch.arange(count), count, "property", step), Mates(1, lambda slots: {name: value[slots] for name, value in batch.items()}))
    assert found["mask"].shape == (count, *found["image"].shape[2:]) and set(found["mask"].unique().tolist()) <= {-1, 0, 1}
    assert found["boxes"].shape[:2] == found["box_label"].shape
    limit = torch.tensor([found["mask"].shape[2], found["mask"].shape[1]]).repeat(2)
    assert (found["boxes"] >= 0).all() and (found["boxes"] <= limit).all() and (found["boxes"][found["box_label"] < 0] == 0).all()
    for row in range(count):
        real = found["boxes"][row][found["box_label"][row] == 0]
        inside = torch.zeros_like(found["mask"][row], dtype=torch.bool)
        for x1, y1, x2, y2 in real.tolist():
            inside[max(0, math.floor(y1) - 1) : math.ceil(y2) + 1, max(0, math.floor(x1) - 1) : math.ceil(x2) + 1] = True
        outside, parts = int(((found["mask"][row] == 1) & ~inside).sum()), 4 if isinstance(change, Mosaic) else 1
        if len(real) == parts:
            assert outside == 0
        else:                                                                             # of the upright box around a turned one little is left
            around = LEAST * (size[0] + size[1]) ** 2 * max(1.0, found["mask"][row].numel() / (0.2 * mask[row].numel()))
            assert outside <= parts * (around + 2 * (height + width))


@pytest.mark.parametrize("change", [Shift(pixels=5), Flip(probability=1.0), Flip(probability=1.0, axis="vertical"), ResizedCrop(smallest=0.3, stretch=2.0, size=(20, 30))], ids=str)
def test_boxes_of_upright_moves_are_exactly_where_the_picture_is(change: Augmentation) -> None:
    """A picture whose values are its own coordinates says where each point of the box has gone."""
    height, width = 24, 30
    across = (torch.arange(width) + 0.5).expand(height, width) / width
    down = (torch.arange(height)[:, None] + 0.5).expand(height, width) / height
    image = torch.stack([across, down, torch.ones(height, width)]).expand(B, 3, height, width)
    box = torch.tensor([[6.0, 4.0, 24.0, 20.0]]).expand(B, 1, 4)
    found = change({"image": image, "boxes": box, "box_label": torch.zeros(B, 1, dtype=torch.long)}, draws(), NONE)
    x, y, there = found["image"].double().unbind(1)
    x, y = x * width, y * height
    new_height, new_width = x.shape[1:]
    for row in range(B):
        if found["box_label"][row, 0] < 0:
            continue
        x1, y1, x2, y2 = found["boxes"][row, 0].tolist()
        centres_x, centres_y = torch.arange(new_width) + 0.5, torch.arange(new_height)[:, None] + 0.5
        claimed = (centres_x > x1) & (centres_x < x2) & (centres_y > y1) & (centres_y < y2)
        shown = (there[row] > 0.99) & (x[row] > 6) & (x[row] < 24) & (y[row] > 4) & (y[row] < 20)
        edge = ((x[row] - 6).abs() < 1e-3) | ((x[row] - 24).abs() < 1e-3) | ((y[row] - 4).abs() < 1e-3) | ((y[row] - 20).abs() < 1e-3)
        assert not ((claimed != shown) & ~edge).any()


def cubic(values: np.ndarray, at: float) -> float:
    """Keys' cubic convolution (a = -0.75) of a line of values, those at the ends going on."""
    first, weights = math.floor(at) - 1, []
    for k in range(4):
        d = abs(at - (first + k))
        weights.append(1.25 * d**3 - 2.25 * d**2 + 1 if d <= 1 else -0.75 * (d**3 - 5 * d**2 + 8 * d - 4))
    return float(np.dot(weights, values[np.clip(np.arange(first, first + 4), 0, len(values) - 1)]))


def test_elastic_shows_what_was_where_its_grid_says() -> None:
    """A picture whose values are its own coordinates, point by point; and the box of what it shows is around just that."""
    height, width, change = 18, 24, Elastic(amount=0.05, grid=3)
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    image = torch.from_numpy(np.stack([x / width, y / height, np.ones_like(x)])).float().expand(B, 3, height, width)
    box = torch.tensor([[5.0, 4.0, 17.0, 13.0]]).expand(B, 1, 4)
    found = change({"image": image, "boxes": box, "box_label": torch.zeros(B, 1, dtype=torch.long)}, draws(), NONE)
    points = 0.05 * draws().normal(2, 3, 3).double().numpy()
    for row in range(4):
        shows = np.zeros((height, width), dtype=bool)
        for i, j in np.ndindex(height, width):
            place = (i * 2 / (height - 1), j * 2 / (width - 1))
            dx, dy = (cubic(np.array([cubic(line, place[1]) for line in points[row, k]]), place[0]) for k in (0, 1))
            across, down = x[i, j] + dx * width, y[i, j] + dy * height
            if 0.5 < across < width - 0.5 and 0.5 < down < height - 0.5:
                np.testing.assert_allclose(found["image"][row, :, i, j].numpy(), np.array([across / width, down / height, 1]), atol=1e-5)
            shows[i, j] = 5 < across < 17 and 4 < down < 13
        rows, columns = np.nonzero(shows)
        assert found["boxes"][row, 0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


# mixtures


def test_mixup_mixes_pictures_and_classes_by_the_same_share() -> None:
    image, label = pictures(), torch.arange(B) % 5
    step = {"image": image, "label": label}
    mixed = MixUp(alpha=1.0)(step, draws(), Mates(5, mates(step).at))
    other = draws().partners()
    assert len(set(other.tolist())) == B
    own = mixed["label"].gather(1, label[:, None])[:, 0]
    assert torch.allclose(mixed["label"].sum(1), torch.ones(B)) and (mixed["label"] > 0).sum(1).max() <= 2
    for row in range(B):
        if label[row] != label[other[row]]:
            torch.testing.assert_close(mixed["image"][row], own[row] * image[row] + (1 - own[row]) * image[other[row]])


def test_cutmix_pastes_a_rectangle_and_as_much_of_the_class() -> None:
    label = torch.arange(B)
    step = {"image": (label + 1).float()[:, None, None, None].expand(B, 3, 20, 30) / B, "label": label}
    mixed = CutMix()(step, draws(), mates(step))
    other = draws().partners()
    shares = []
    for row in range(B):
        shown = (mixed["image"][row, 0] * B - 1).round().long()
        pasted = shown != row
        assert set(shown.unique().tolist()) <= {row, int(other[row])}
        rows, columns = np.nonzero(pasted.numpy())
        if len(rows):
            assert (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) == len(rows)
        assert mixed["label"][row, row] == pytest.approx(1 - pasted.float().mean().item(), abs=1e-6)
        shares.append(pasted.float().mean().item())
    assert min(shares) < 0.1 and max(shares) > 0.9


def test_mosaic_shows_four_pictures_and_their_boxes() -> None:
    label = torch.arange(B)
    box = torch.tensor([[0.0, 0.0, 30.0, 20.0]]).expand(B, 1, 4)                          # all of every picture
    step = {"image": (label + 1).float()[:, None, None, None].expand(B, 1, 20, 30) / B, "boxes": box, "box_label": torch.zeros(B, 1, dtype=torch.long)}
    made = Mosaic(smallest=1.0, centre=0.1)(step, draws(), mates(step))
    assert made["boxes"].shape == (B, 4, 4) and (made["box_label"] == 0).all()
    for row in range(B):
        seen = torch.zeros(20, 30)
        for x1, y1, x2, y2 in made["boxes"][row].round().long().tolist():
            quarter = made["image"][row, 0, y1:y2, x1:x2]
            assert quarter.numel() and torch.allclose(quarter, quarter[0, 0])
            seen[y1:y2, x1:x2] += 1
        assert (seen == 1).all()
    half = Mosaic(probability=0.5)(step, draws(), mates(step))
    unchanged = (half["box_label"][:, 1:] == -1).all(1)
    assert 20 < int(unchanged.sum()) < 50 and torch.equal(half["image"][unchanged], step["image"][unchanged])


def test_a_step_in_parts_is_the_step_and_mixes_pictures_changed_so_far() -> None:
    """What a source gives, over the whole chain: in any parts, and pasted pictures were turned and cut as their own rows say."""
    generator = torch.Generator().manual_seed(0)
    data = ImageDataset(torch.randint(256, (40, 3, 12, 12), generator=generator, dtype=torch.uint8), torch.arange(40) % 4, tuple("abcd"))
    changes = [Flip(), ResizedCrop(size=(8, 8)), Colour(), MixUp(alpha=1.0), CutMix()]
    source = Shuffled(data, 16, 7, changes=changes)
    whole = source.batch(3, torch.arange(16), None)
    assert whole["image"].shape == (16, 3, 8, 8) and whole["label"].shape == (16, 4) and torch.allclose(whole["label"].sum(1), torch.ones(16))
    for slots in (torch.tensor([3]), torch.tensor([15, 0, 7]), torch.randperm(16, generator=generator)):
        part = source.batch(3, slots, None)
        assert torch.equal(part["image"], whole["image"][slots]) and torch.equal(part["label"], whole["label"][slots])
    plain = Shuffled(data, 16, 7, changes=changes[:1]).batch(3, torch.arange(16), None)
    mixed = Shuffled(data, 16, 7, changes=[changes[0], CutMix()]).batch(3, torch.arange(16), None)
    for row in range(16):
        assert ((mixed["image"][row][None] == plain["image"]).all(1).any(0)).all()         # every pixel is one of a flipped picture


def test_soft_labels_are_learned_as_they_are() -> None:
    logits, label = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    shares = F.one_hot(label, 4).float()
    for smoothing in (0.0, 0.2):
        objective = Classification(smoothing=smoothing)
        hard, soft = (objective.loss(nn.Identity(), lambda batch: {"logits": logits}, {"label": said}, Phase("main")) for said in (label, shares))
        torch.testing.assert_close(hard.total, soft.total)
        assert hard.metrics["accuracy"] == soft.metrics["accuracy"] and hard.count == soft.count
    mixed = 0.3 * shares + 0.7 * shares.flip(0)
    found = Classification().loss(nn.Identity(), lambda batch: {"logits": logits}, {"label": mixed}, Phase("main")).total
    torch.testing.assert_close(found, -(mixed * logits.log_softmax(-1)).sum())
