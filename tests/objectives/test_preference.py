"""Preference losses against their formulas on whole logits."""

from __future__ import annotations

import math

import pytest
import torch

from ftheta.architectures.architecture import Architecture, call
from ftheta.core.contract import Batch
from ftheta.objectives.objective import Phase
from ftheta.objectives.preference import Preference
from sharp import sharp_decoder


def pairs() -> Batch:
    draw = torch.Generator().manual_seed(0)
    batch: Batch = {}
    for name in ("chosen", "rejected"):
        batch[name] = torch.randint(4, 30, (5, 9), generator=draw)
        learned = torch.zeros(5, 9, dtype=torch.bool)
        for row in range(5):
            learned[row, 3 : 5 + row] = True
        batch[f"{name}_learned"] = learned
    return batch


def log_p(f: Architecture, batch: Batch, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum and mean per row, by the textbook: every logit, a loop over rows and tokens."""
    logits = f(tokens=batch[name])["logits"]
    sums, means = [], []
    for row in range(len(logits)):
        values = [
            torch.log_softmax(logits[row, t - 1], -1)[batch[name][row, t]] for t in range(1, logits.shape[1]) if batch[f"{name}_learned"][row, t]
        ]
        sums.append(torch.stack(values).sum())
        means.append(torch.stack(values).mean())
    return torch.stack(sums), torch.stack(means)


@pytest.mark.parametrize("form, options", [("dpo", {}), ("dpo", {"smoothing": 0.1}), ("ipo", {}), ("simpo", {"beta": 2.0, "margin": 0.5}), ("orpo", {})])
def test_equal_to_the_formula(form: str, options: dict[str, float]) -> None:
    mine, start, batch = sharp_decoder(0), sharp_decoder(1), pairs()
    objective = Preference.parse({"kind": "preference", "form": form, "beta": 0.3, **options})
    batch |= objective.reference(start, lambda b: call(start, b), batch)
    found = objective.loss(mine, lambda b: call(mine, b), batch, Phase("main"))
    found.total.backward()
    gradients = {name: p.grad.clone() for name, p in mine.named_parameters() if p.grad is not None}
    mine.zero_grad()
    (c, c_mean), (r, r_mean) = log_p(mine, batch, "chosen"), log_p(mine, batch, "rejected")
    (c_ref, c_ref_mean), (r_ref, r_ref_mean) = log_p(start, batch, "chosen"), log_p(start, batch, "rejected")
    beta, sigmoid = objective.beta, torch.sigmoid
    if form == "dpo":
        delta, e = (c - c_ref) - (r - r_ref), objective.smoothing
        each = -(1 - e) * sigmoid(beta * delta).log() - e * sigmoid(-beta * delta).log()
    elif form == "ipo":
        each = ((c_mean - c_ref_mean) - (r_mean - r_ref_mean) - 1 / (2 * beta)) ** 2
    elif form == "simpo":
        each = -sigmoid(beta * (c_mean - r_mean) - objective.margin).log()
    else:
        odds = c_mean.exp() / (1 - c_mean.exp()) / (r_mean.exp() / (1 - r_mean.exp()))
        each = -c_mean - beta * sigmoid(odds.log()).log()
    assert math.isclose(float(found.total), float(each.sum()), rel_tol=1e-9) and found.count == 5
    each.sum().backward()
    for name, parameter in mine.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-9, rtol=1e-7)


def test_micro_batches_add_up() -> None:
    mine, batch = sharp_decoder(0), pairs()
    objective = Preference(form="simpo")
    whole = objective.loss(mine, lambda b: call(mine, b), batch, Phase("main")).total
    parts = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 2), slice(2, 5))]
    assert math.isclose(float(whole), sum(float(objective.loss(mine, lambda b: call(mine, b), part, Phase("main")).total) for part in parts), rel_tol=1e-12)
