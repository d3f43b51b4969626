"""KTO against its formula on whole logits, as TRL writes it; the rows of a step are one loss."""

from __future__ import annotations

import math

import pytest
import torch

from ftheta.architectures.architecture import Architecture, call
from ftheta.core.contract import Batch
from ftheta.objectives.kto import KTO
from ftheta.objectives.objective import Phase
from sharp import sharp_decoder


def judged(seed: int = 0) -> Batch:
    draw, batch = torch.Generator().manual_seed(seed), Batch()
    for name in ("answer", "other"):
        batch[name] = torch.randint(4, 30, (6, 9), generator=draw)
        learned = torch.zeros(6, 9, dtype=torch.bool)
        for row in range(6):
            learned[row, 3 : 4 + row] = True
        batch[f"{name}_learned"] = learned
    return {**batch, "good": torch.tensor([True, False, True, True, False, False])}


def log_p(f: Architecture, batch: Batch, name: str) -> torch.Tensor:
    logits = f(tokens=batch[name])["logits"].log_softmax(-1)
    return torch.stack([
        sum((logits[row, t - 1, batch[name][row, t]] for t in range(1, 9) if batch[f"{name}_learned"][row, t]), torch.zeros((), dtype=torch.float64)) for row in range(6)
    ])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_to_the_formula(seed: int) -> None:
    mine, start, batch = sharp_decoder(0), sharp_decoder(1), judged(seed)
    objective = KTO(beta=0.2, desirable=1.3, undesirable=0.7)
    batch |= objective.reference(start, lambda b: call(start, b), batch)
    found = objective.loss(mine, lambda b: call(mine, b), batch, Phase("main"))
    found.total.backward()
    gradients = {name: p.grad.clone() for name, p in mine.named_parameters() if p.grad is not None}
    mine.zero_grad()
    kl = (log_p(mine, batch, "other") - log_p(start, batch, "other")).mean().detach().clamp(min=0)
    ratios = log_p(mine, batch, "answer") - log_p(start, batch, "answer").detach()
    good, sigmoid = batch["good"], torch.sigmoid
    expected = torch.cat([1.3 * (1 - sigmoid(0.2 * (ratios[good] - kl))), 0.7 * (1 - sigmoid(0.2 * (kl - ratios[~good])))]).mean()
    assert math.isclose(float(found.total.detach()), float(expected.detach()), rel_tol=1e-9) and found.count is None
    assert math.isclose(float(found.metrics["kl"][0]), float(kl), abs_tol=1e-9)
    expected.backward()
    for name, parameter in mine.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-9, rtol=1e-7)


def test_the_divergence_is_never_negative_and_moves_nothing() -> None:
    mine, batch = sharp_decoder(0), judged()
    zeros = dict.fromkeys(("reference_answer", "reference_other"), torch.zeros(6, dtype=torch.float64))
    low = KTO().loss(mine, lambda b: call(mine, b), {**batch, **zeros}, Phase("main"))
    high = KTO().loss(mine, lambda b: call(mine, b), {**batch, **zeros, "reference_other": torch.full((6,), -500.0, dtype=torch.float64)}, Phase("main"))
    assert float(low.metrics["kl"][0]) == 0 and float(high.metrics["kl"][0]) > 0 and float(low.total.detach()) != float(high.total.detach())
