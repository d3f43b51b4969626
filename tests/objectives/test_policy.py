"""The clipped objective: its value by hand, its gradient where it is clipped, sums over parts."""

from __future__ import annotations

import pytest
import torch

from ftheta.architectures.actor_critic import ActorCriticConfig
from ftheta.architectures.architecture import call
from ftheta.core.contract import Batch, check
from ftheta.experience.rollouts import RolloutsConfig
from ftheta.objectives.objective import Phase
from ftheta.objectives.policy import PPO

MODEL = ActorCriticConfig.parse({"features": 4, "actions": 3}).build()
MODEL.initialise(0)


def batch(rows: int = 12, shift: float = 0.0) -> Batch:
    """Transitions whose old policy gave every action exp(shift) times less probability than the model does."""
    draws = torch.Generator().manual_seed(0)
    observation = torch.randn(rows, 4, generator=draws)
    action = torch.randint(3, (rows,), generator=draws)
    log_probability = MODEL(observation=observation)["logits"].detach().log_softmax(-1).gather(-1, action[:, None])[:, 0] - shift
    advantage, value = torch.randn(2, rows, generator=draws).unbind()
    return {"observation": observation, "action": action, "log_probability": log_probability, "advantage": advantage, "return": value, "value": value}


def loss(objective: PPO, data: Batch):
    return objective.loss(MODEL, lambda given, **more: call(MODEL, given, **more), data, Phase("main"))


def test_value_is_the_papers() -> None:
    data, objective = batch(shift=0.5), PPO(clip=0.2, value=0.7, entropy=0.1)
    found = loss(objective, data)
    outputs = MODEL(observation=data["observation"])
    probability = outputs["logits"].softmax(-1)
    expected = 0.0
    for i in range(12):
        ratio, advantage = 2.718281828**0.5, data["advantage"][i].item()
        expected -= min(ratio * advantage, 1.2 * advantage)
        expected += 0.7 * (outputs["value"][i].item() - data["return"][i].item()) ** 2
        expected -= 0.1 * -sum(p * torch.tensor(p).log().item() for p in probability[i].tolist())
    assert found.total.item() == pytest.approx(expected, rel=1e-5) and found.count == 12
    means = {name: float(total) / float(count) for name, (total, count) in found.metrics.items()}
    assert means["clipped"] == 1.0 and means["kl"] == pytest.approx(2.718281828**0.5 - 1.5, rel=1e-4)
    assert 0 < means["entropy"] <= torch.tensor(3.0).log().item() + 1e-6


def test_no_gradient_pushes_a_clipped_ratio_further() -> None:
    data = {**batch(shift=0.5), "advantage": torch.ones(12)}
    MODEL.zero_grad()
    loss(PPO(value=0.0), data).total.backward()
    assert not any(p.grad.any() for p in MODEL.actor.parameters() if p.grad is not None)
    loss(PPO(value=0.0), {**data, "advantage": -torch.ones(12)}).total.backward()
    assert any(p.grad.any() for p in MODEL.actor.parameters() if p.grad is not None)


def test_parts_add_up_to_the_whole() -> None:
    data, objective = batch(), PPO(entropy=0.01)
    whole = loss(objective, data)
    parts = [loss(objective, {name: value[rows] for name, value in data.items()}) for rows in (slice(0, 5), slice(5, 12))]
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)
    assert sum(part.count for part in parts) == whole.count


def test_fits_rollouts_and_an_actor_critic() -> None:
    source = RolloutsConfig()
    model = ActorCriticConfig.parse({"features": 4, "actions": 2})
    assert check(source.ports(), model.ports(), PPO().needs()) == []
    wide = ActorCriticConfig.parse({"features": 4, "actions": 5})
    assert any("number of actions is 2, the model's is 5" in reason for reason in check(source.ports(), wide.ports(), PPO().needs()))
