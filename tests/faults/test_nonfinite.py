"""R18: not-a-number in an input, a loss or a gradient, in all processes or one: the parameters are never touched by it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

import tiny
from faults.builds import spoiled, trainer
from faults.children import FAMILIES, differences, free_port, left_behind, losses, rank_environment
from ftheta.core.contract import Loss
from ftheta.core.errors import NonFiniteError, UsageError
from ftheta.training.checkpoints import Checkpoints
from ftheta.training.trainer import ROLLBACKS, Trainer


class Poisoned:
    """An objective whose loss, or whose gradient, is not a number at some positions of the data."""

    def __init__(self, trainer: Trainer, positions: set[int], where: str):
        self.real, self.trainer, self.positions, self.where = trainer.objective, trainer, positions, where
        trainer.objective = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def loss(self, model: Any, run: Any, batch: Any, phase: Any) -> Loss:
        loss = self.real.loss(model, run, batch, phase)
        progress = self.trainer.progress
        if torch.is_grad_enabled() and progress.step + progress.skipped_data in self.positions:
            if self.where == "loss":
                return Loss(loss.total * math.nan, loss.count, loss.metrics)
            loss.total.register_hook(lambda gradient: gradient * math.inf)
        return loss


def finite(values: dict[str, torch.Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in values.values())


def parameters(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.theta().items()}


def with_policy(data: dict[str, Any], policy: str) -> dict[str, Any]:
    data["train"]["on_nonfinite"] = policy
    return data


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_stop(family, where, recipe, golden, tmp_path):
    once = trainer(recipe(family), tmp_path / "run")
    Poisoned(once, {6}, where)
    with pytest.raises(NonFiniteError, match=r"step 6.* is not a finite number; the parameters were not touched"):
        once.fit()
    assert finite(parameters(once))
    steps = Checkpoints(tmp_path / "run" / "checkpoints").steps()
    assert steps and steps[-1] < 6 + 1
    trainer(recipe(family), tmp_path / "run").fit()
    assert not differences(left_behind(tmp_path / "run"), golden(family))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_skip_leaves_the_step_out(family, where, recipe, tmp_path):
    once = trainer(with_policy(recipe(family), "skip"), tmp_path / "run")
    Poisoned(once, {6, 7}, where)
    seen: dict[int, dict[str, torch.Tensor]] = {}
    once.events.listeners.append(lambda name, facts: seen.update({facts["step"]: parameters(once)}) if name == "metrics" else None)
    progress = once.fit()
    assert progress.step == 12 and progress.nonfinite == 2
    assert all(finite(values) for values in seen.values())
    assert all(torch.equal(seen[6][name], seen[8][name]) for name in seen[6])             # steps 7 and 8 read positions 6 and 7
    assert not all(torch.equal(seen[8][name], seen[9][name]) for name in seen[8])
    assert len(losses(tmp_path / "run")) == len(seen) + sum("validation_loss" in line for line in losses(tmp_path / "run"))


@pytest.mark.parametrize("family", ["language", "gan"])
def test_rollback_leaves_the_data_out_and_is_exact(family, recipe, tmp_path):
    runs = []
    for name in ("a", "b"):
        once = trainer(with_policy(recipe(family), "rollback"), tmp_path / name)
        Poisoned(once, {6}, "loss")
        progress = once.fit()
        assert progress.step == 12 and progress.rollbacks == 1 and progress.skipped_data == 3
        assert finite(parameters(once))
        runs.append(left_behind(tmp_path / name))
    assert not differences(*runs)
    steps = [line["step"] for line in map(json.loads, runs[0]["losses"]) if "validation_loss" not in line]
    assert steps == list(range(1, 13))


def test_rollbacks_are_counted_between_good_checkpoints(recipe, tmp_path):
    data = with_policy(recipe("language"), "rollback")
    data["train"]["steps"] = 24
    once = trainer(data, tmp_path / "many")
    Poisoned(once, {5, 10, 15, 20, 25}, "loss")                                          # more than the limit, with checkpoints between
    assert once.fit().rollbacks == 5 > ROLLBACKS
    once = trainer(data, tmp_path / "endless")
    Poisoned(once, set(range(5, 1000)), "loss")
    with pytest.raises(NonFiniteError):
        once.fit()
    assert finite(parameters(once))


def test_experience_cannot_be_left_out(recipe, tmp_path):
    with pytest.raises(UsageError, match="experience cannot be left out"):
        trainer(with_policy(recipe("policy"), "rollback"), tmp_path / "run")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_running_statistics_are_not_poisoned_by_a_bad_input(value, tmp_path):
    def spoil(batch):
        batch["image"][3, 0, 2, 2] = value
        return batch

    for policy in ("skip", "rollback"):
        once = trainer(with_policy(tiny.images(), policy), tmp_path / policy, change=lambda source: spoiled(source, {5}, spoil))
        progress = once.fit()
        assert progress.nonfinite == 1 and finite(parameters(once))
        assert finite({name: buffer.double() for name, buffer in once.model.named_buffers()})


def test_images_of_the_two_players_may_be_bad(recipe, tmp_path):
    def spoil(batch):
        batch["image"][0] = math.nan
        return batch

    once = trainer(with_policy(recipe("gan"), "skip"), tmp_path / "run", change=lambda source: spoiled(source, {5}, spoil))
    assert once.fit().nonfinite == 1 and finite(parameters(once))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_processes(family, rank, zygote, recipe, tmp_path):
    for policy, code in (("stop", 1), ("skip", 0), *([] if family == "policy" else [("rollback", 0)])):
        port, data, out = free_port(), with_policy(recipe(family), policy), tmp_path / policy
        fault = {"kind": "nan_at", "step": 6, "rank": rank}
        pids = [zygote.start(data, out, fault=fault, environment=rank_environment(number, 2, port)) for number in (0, 1)]
        assert [zygote.wait(pid, 30) for pid in pids] == [code, code], zygote.said()
        if code:
            assert zygote.said().count("NonFiniteError") == 2
        else:
            assert all(finite(group) for group in Checkpoints(out / "checkpoints").load(12).groups.values())
