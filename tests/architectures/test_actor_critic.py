"""The actor and the critic: shapes, initial values, laziness."""

from __future__ import annotations

import torch

from ftheta.architectures.actor_critic import ActorCriticConfig


def test_starts_with_a_nearly_uniform_policy_and_orthogonal_maps() -> None:
    model = ActorCriticConfig.parse({"features": 4, "actions": 3, "hidden": [32, 16]}).build()
    model.initialise(0)
    outputs = model(observation=torch.randn(7, 4))
    assert outputs["logits"].shape == (7, 3) and outputs["value"].shape == (7,)
    assert (outputs["logits"].softmax(-1) - 1 / 3).abs().max() < 0.02
    middle = model.actor[2].weight
    torch.testing.assert_close(middle @ middle.t(), 2 * torch.eye(16), atol=1e-5, rtol=0)


def test_acting_computes_no_value() -> None:
    model = ActorCriticConfig.parse({"features": 4, "actions": 2}).build()
    model.initialise(0)
    calls = []
    model.critic.register_forward_hook(lambda *_: calls.append(1))
    outputs = model(observation=torch.randn(5, 4))
    outputs["logits"]
    assert not calls
    outputs["value"]
    assert calls == [1]
