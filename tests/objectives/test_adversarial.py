"""The two losses against their formulas, the penalty against finite differences, and exact micro-batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ftheta.architectures.architecture import Outputs, call
from ftheta.architectures.gan import GAN, GANConfig
from ftheta.core.contract import Batch, Ports, check
from ftheta.core.random import Draws
from ftheta.data.images import image_ports
from ftheta.objectives.adversarial import DISCRIMINATOR, GENERATOR, Adversarial

B = 6


def network() -> GAN:
    model = GANConfig.parse({"channels": 2, "classes": 3, "size": 8, "noise": 5, "width": 4}).build()
    model.initialise(0)
    model.compute_dtype = torch.float64
    return model.double()


def batch(objective: Adversarial, rows: torch.Tensor | None = None) -> Batch:
    rows = torch.arange(B) if rows is None else rows
    image = torch.rand(B, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ready = objective.prepare({"image": image[rows], "label": rows % 3}, Draws(rows, B, "test"))
    return {name: value.double() if value.is_floating_point() else value for name, value in ready.items()}


def runner(model: GAN) -> Any:
    def run(inputs: Batch, **more: torch.Tensor) -> Outputs:
        return call(model, inputs, **more)

    return run


def test_losses_are_those_of_the_paper() -> None:
    """Goodfellow et al.: -log σ(D(x)) - log(1 - σ(D(G(z)))) and -log σ(D(G(z'))); Mescheder et al.: γ/2 |∇D(x)|²."""
    model, objective = network(), Adversarial(noise=5, penalty=3.0)
    data = batch(objective)
    label = data["label"]
    with torch.no_grad():
        fake = model.judge(model.generator(data["discriminator_noise"], label), label).sigmoid()
        real = model.judge(data["image"], label).sigmoid()
        other = model.judge(model.generator(data["generator_noise"], label), label).sigmoid()
        slope = torch.zeros(B, dtype=torch.float64)                                       # finite differences, pixel by pixel
        for pixel in range(2 * 8 * 8):
            step = torch.zeros(2 * 8 * 8, dtype=torch.float64)
            step[pixel] = 1e-5
            up, down = (model.judge(data["image"] + sign * step.view(2, 8, 8), label) for sign in (1, -1))
            slope += ((up - down) / 2e-5).square()
    loss = objective.loss(model, runner(model), data, DISCRIMINATOR)
    assert loss.count == B
    expected = -real.log().sum() - (1 - fake).log().sum() + 1.5 * slope.sum()
    torch.testing.assert_close(loss.total.detach(), expected, rtol=1e-5, atol=0)           # D has kinks, so not closer
    assert slope.sum() > 1e-6 and float(loss.metrics["slope"][0]) == pytest.approx(float(slope.sum()), rel=1e-4)
    torch.testing.assert_close(objective.loss(model, runner(model), data, GENERATOR).total.detach(), -other.log().sum(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("phase", [DISCRIMINATOR, GENERATOR])
def test_micro_batches_add_up_to_the_whole_batch(phase: Any) -> None:
    model, objective = network(), Adversarial(noise=5)
    gradients = []
    for parts in ([torch.arange(B)], [torch.tensor([0]), torch.tensor([1, 2, 3, 4]), torch.tensor([5])]):
        model.zero_grad()
        losses = [objective.loss(model, runner(model), batch(objective, rows), phase) for rows in parts]
        for loss in losses:
            loss.total.backward()
        assert sum(int(loss.count or 0) for loss in losses) == B
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if name.startswith(phase.player) and p.grad is not None})
    assert gradients[0] and gradients[0].keys() == gradients[1].keys()
    for name, whole in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], whole, rtol=1e-9, atol=1e-12)


def test_each_player_gets_all_its_gradients_and_the_generator_none_from_the_discriminator() -> None:
    model, objective = network(), Adversarial(noise=5)
    objective.loss(model, runner(model), batch(objective), DISCRIMINATOR).total.backward()
    assert all((p.grad is not None) == name.startswith("discriminator") for name, p in model.named_parameters())
    model.zero_grad()
    objective.loss(model, runner(model), batch(objective), GENERATOR).total.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.generator.parameters() if p.ndim > 1)


def test_noise_belongs_to_its_row_and_differs_between_players() -> None:
    objective = Adversarial(noise=5)
    whole = batch(objective)
    assert whole["discriminator_noise"].shape == (B, 5) and not torch.equal(whole["discriminator_noise"], whole["generator_noise"])
    part = batch(objective, torch.tensor([4, 1]))
    for name in ("discriminator_noise", "generator_noise"):
        assert torch.equal(part[name], whole[name][[4, 1]])


def test_without_penalty_or_gradients() -> None:
    model = network()
    plain, penalised = Adversarial(noise=5, penalty=0.0), Adversarial(noise=5)
    data = batch(plain)
    with torch.no_grad():                                                                 # as in validation
        without = plain.loss(model, runner(model), data, DISCRIMINATOR)
        loss = penalised.loss(model, runner(model), data, DISCRIMINATOR)
    assert float(without.metrics["slope"][0]) == 0 and loss.total > without.total
    with torch.enable_grad():
        torch.testing.assert_close(penalised.loss(model, runner(model), data, DISCRIMINATOR).total.detach(), loss.total)


def test_operations_can_be_counted() -> None:
    """Counters hook every module, which fails for a penalised picture that reaches one as a leaf."""
    model, objective = network(), Adversarial(noise=5)
    with FlopCounterMode(display=False) as counter:
        for phase in objective.phases():
            objective.loss(model, runner(model), batch(objective), phase).total.backward()
    assert counter.get_total_flops() > 0


def test_fits_labelled_pictures_and_a_model_with_two_players_only() -> None:
    objective = Adversarial()
    gan = GANConfig(channels=1, classes=10, size=8)
    data = image_ports(1, 10, 8, 8)
    assert check(data, gan.ports(), objective.needs()) == []
    alone = Ports(gan.ports().takes, gan.ports().gives, gan.ports().sizes, frozenset({"gradients"}))
    assert [reason for reason in check(data, alone, objective.needs()) if "no discriminator" in reason]
