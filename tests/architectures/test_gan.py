"""The two players: shapes at any size, rows that do not depend on each other, labels that matter, and what is refused."""

from __future__ import annotations

import pytest
import torch

from ftheta.architectures.gan import GAN, GANConfig
from ftheta.core.errors import ConfigError, UsageError


def network(**fields: object) -> GAN:
    model = GANConfig.parse({"channels": 1, "classes": 3, "size": 8, "noise": 6, "width": 4, **fields}).build()
    model.initialise(0)
    return model


@pytest.mark.parametrize("size, sizes, widths", [(8, [4, 8], [8, 4]), (28, [7, 14, 28], [16, 8, 4]), (64, [4, 8, 16, 32, 64], [32, 32, 16, 8, 4]), (5, [5], [4])])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_have_the_size_asked_for(size: int, sizes: list[int], widths: list[int], channels: int) -> None:
    model = network(size=size, channels=channels)
    assert model.config.sizes() == sizes and model.config.widths() == widths
    label = torch.tensor([0, 1, 2, 2])
    image = model(noise=torch.randn(4, 6), label=label)["image"]
    assert image.shape == (4, channels, size, size) and image.min() > 0 and image.max() < 1
    assert model.judge(image, label).shape == (4,)
    known = model.config.ports().sizes
    assert (known["C"], known["K"], known["H"], known["W"], known["Z"]) == (channels, 3, size, size, 6)


def test_rows_do_not_depend_on_each_other() -> None:
    model = network().double()
    model.compute_dtype = torch.float64
    noise, label = torch.randn(6, 6, dtype=torch.float64), torch.arange(6) % 3
    assert "batch_coupled" not in model.config.ports().traits
    image = model(noise=noise, label=label)["image"]
    score = model.judge(image, label)
    for row in range(6):
        alone = model(noise=noise[row : row + 1], label=label[row : row + 1])["image"]
        torch.testing.assert_close(alone, image[row : row + 1])
        torch.testing.assert_close(model.judge(alone, label[row : row + 1]), score[row : row + 1])


def test_the_label_changes_picture_and_verdict() -> None:
    model = network()
    noise = torch.randn(1, 6).expand(3, 6)
    image = model(noise=noise, label=torch.arange(3))["image"]
    assert not torch.equal(image[0], image[1])
    same = image[:1].expand(3, 1, 8, 8)
    assert len(model.judge(same, torch.arange(3)).unique()) == 3


def test_first_pictures_are_grey_and_first_verdicts_undecided() -> None:
    """Whatever the depth, activations keep their size, so that neither player starts far ahead."""
    for size in (8, 64):
        model = network(size=size, width=16)
        label = torch.arange(60) % 3
        image = model(noise=torch.randn(60, 6), label=label)["image"]
        assert (image - 0.5).abs().max() < 0.25
        assert model.judge(torch.rand(60, 1, size, size), label).abs().max() < 10


def test_all_parameters_belong_to_one_player_and_are_initialised() -> None:
    with torch.device("meta"):
        model = GANConfig.parse({"channels": 1, "classes": 3, "size": 8, "noise": 6, "width": 4}).build()
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.fill_(9)
    model.initialise(0)
    same = network()
    for (name, a), (_, b) in zip(model.named_parameters(), same.named_parameters(), strict=True):
        assert name.split(".")[0] in ("generator", "discriminator") and torch.equal(a, b), name


def test_bfloat16_gives_a_float32_verdict() -> None:
    model = network()
    model.compute_dtype = torch.bfloat16
    outputs = model(noise=torch.randn(2, 6), label=torch.tensor([0, 1]))
    assert outputs["image"].dtype == torch.bfloat16 and model.judge(outputs["image"], torch.tensor([0, 1])).dtype == torch.float32


def test_refuses_sizes_it_cannot_halve_and_noise_of_another_length() -> None:
    with pytest.raises(ConfigError, match="size 31 cannot be halved"):
        network(size=31)
    with pytest.raises(UsageError, match=r"model.noise is 6, but 5"):
        network()(noise=torch.randn(2, 5), label=torch.tensor([0, 1]))
