"""Rollouts: advantages against a slow loop, order, exactness of parts, continuing, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ftheta.architectures.actor_critic import ActorCritic, ActorCriticConfig
from ftheta.core.errors import ConfigError, DataError
from ftheta.data.processors.plain import PlainProcessor
from ftheta.experience.rollouts import Rollouts, RolloutsConfig, advantages


def config(**fields: Any) -> RolloutsConfig:
    return RolloutsConfig.parse({"environment": {"kind": "cartpole", "limit": 15}, "envs": 3, "horizon": 40, "epochs": 2, **fields})


def policy(seed: int = 0) -> ActorCritic:
    model = ActorCriticConfig.parse({"features": 4, "actions": 2, "hidden": [8]}).build()
    model.initialise(seed)
    return model


def test_advantages_equal_the_definition() -> None:
    torch.manual_seed(0)
    time, copies, gamma, trace = 30, 4, 0.9, 0.8
    reward, value, following = torch.randn(3, time, copies, dtype=torch.float64).unbind()
    terminated, cut = torch.rand(2, time, copies) < 0.1
    truncated = cut & ~terminated
    found = advantages(reward, value, following, terminated, truncated, gamma, trace)
    for copy in range(copies):
        for start in range(time):
            expected, weight = 0.0, 1.0
            for t in range(start, time):
                future = 0.0 if terminated[t, copy] else following[t, copy].item()
                expected += weight * (reward[t, copy].item() + gamma * future - value[t, copy].item())
                weight *= gamma * trace
                if terminated[t, copy] or truncated[t, copy]:
                    break
            assert found[start, copy].item() == pytest.approx(expected, rel=1e-12)


def test_an_episode_cut_by_the_time_limit_keeps_the_value_of_where_it_was_cut() -> None:
    one = torch.ones(1, 1)
    yes, no = torch.tensor([[True]]), torch.tensor([[False]])
    assert advantages(one, 2 * one, 5 * one, no, yes, 0.9, 0.95).item() == pytest.approx(1 + 0.9 * 5 - 2)
    assert advantages(one, 2 * one, 5 * one, yes, no, 0.9, 0.95).item() == pytest.approx(1 - 2)


def test_every_transition_is_served_once_an_epoch_in_any_division() -> None:
    source, parts = config().source(24, 0, PlainProcessor()), config().source(24, 0, PlainProcessor())
    model, whole = policy(), torch.arange(24)
    assert source.steps_per_iteration == 10 and source.live
    for _ in range(2):
        seen = []
        for step in range(5):
            batch = source.batch(step, whole, model)
            pieces = [parts.batch(step, slots, model) for slots in whole.split(7)]
            assert all(torch.equal(torch.cat([piece[name] for piece in pieces]), batch[name]) for name in batch)
            seen.append(batch["return"])
        assert torch.equal(torch.cat(seen).sort().values, source.rollout["return"].sort().values)


def test_advantages_are_normalised_over_the_rollout() -> None:
    source = config().source(24, 0, PlainProcessor())
    source.batch(0, torch.arange(24), policy())
    advantage = source.rollout["advantage"]
    assert advantage.mean().abs() < 1e-6 and advantage.std().item() == pytest.approx(1, abs=1e-5)
    raw = config(normalise_advantages=False).source(24, 0, PlainProcessor())
    batch = raw.batch(0, torch.arange(24), policy())
    torch.testing.assert_close(batch["return"] - batch["value"], batch["advantage"])


def test_log_probabilities_and_values_are_the_acting_models() -> None:
    source, model = config().source(120, 0, PlainProcessor()), policy()
    batch = source.batch(0, torch.arange(120), model)
    outputs = model(observation=batch["observation"])
    expected = outputs["logits"].log_softmax(-1).gather(-1, batch["action"][:, None])[:, 0]
    torch.testing.assert_close(batch["log_probability"], expected)
    torch.testing.assert_close(batch["value"], outputs["value"])


def test_actions_follow_the_policy() -> None:
    source, model = config(horizon=1000).source(1000, 0, PlainProcessor()), policy()
    model.actor[-1].bias.data[:] = torch.tensor([0.0, 1.0])
    model.actor[-1].weight.data.zero_()
    source.batch(0, torch.arange(1), model)
    share = source.rollout["action"].float().mean().item()
    assert share == pytest.approx(torch.tensor(1.0).sigmoid().item(), abs=0.03)


def test_continuing_equals_not_having_stopped() -> None:
    whole = torch.arange(24)
    straight = config().source(24, 5, PlainProcessor())
    batches = [straight.batch(step, whole, policy(step // 10)) for step in range(30)]
    for stop in (0, 4, 9, 10, 17):
        first, second = config().source(24, 5, PlainProcessor()), config().source(24, 5, PlainProcessor())
        for step in range(stop):
            first.batch(step, whole, policy(step // 10))
        second.restore(*first.state())
        for step in range(stop, 30):
            again = second.batch(step, whole, policy(step // 10))
            assert all(torch.equal(again[name], batches[step][name]) for name in again)
        assert second.statistics() == straight.statistics()


def test_statistics_count_whole_episodes() -> None:
    source = config(environment={"kind": "cartpole", "limit": 4}).source(120, 0, PlainProcessor())
    assert source.statistics() == {"episodes": 0.0}
    source.batch(0, torch.arange(1), policy())
    assert source.statistics() == {"episodes": 30.0, "episode_return": 4.0}


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match=r"train.batch is 50, which does not divide the 120 transitions"):
        Rollouts(config(), 50, 0)
    source = config().source(24, 0, PlainProcessor())
    source.batch(10, torch.arange(24), policy())
    with pytest.raises(DataError, match="experience cannot be had again"):
        source.batch(9, torch.arange(24), policy())
    with pytest.raises(ConfigError, match=r"environment.kind: 'cartpol' is not a known environment; did you mean 'cartpole'"):
        config(environment="cartpol")
    assert config().source(24, 0, PlainProcessor()).fingerprint != config(gamma=0.5).source(24, 0, PlainProcessor()).fingerprint
