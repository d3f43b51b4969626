"""Returns of whole episodes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ftheta.evaluation.play import play
from ftheta.experience.environments.cartpole import CartPole


def upright(observation: Tensor) -> Tensor:
    """Pushes towards where the pole leans."""
    lean = observation[:, 2] + 0.3 * observation[:, 3]
    return torch.stack([-lean, lean], dim=1) * 100


def slow(policy, copies: int, episodes: int, seed: int, limit: int) -> list[float]:
    """The same, one copy and episode after the other: every copy plays the same number of episodes."""
    returns = []
    for round_ in range(-(-episodes // copies)):
        for copy in range(copies):
            world = CartPole(copies, limit=limit)
            world.reset(seed)
            world.episodes[copy] = round_
            world.states[:, copy] = world.start(copy)
            observation, total, over = world.observe(), 0.0, False
            while not over:
                transition = world.step(policy(observation).argmax(-1))
                observation, total = transition.observation, total + transition.reward[copy].item()
                over = bool(transition.terminated[copy] | transition.truncated[copy])
            returns.append(total)
    return returns[:episodes]


def test_equal_to_one_episode_after_the_other() -> None:
    def weak(observation: Tensor) -> Tensor:
        return torch.stack([-observation[:, 2], observation[:, 2]], dim=1)

    found = play(weak, CartPole(4, limit=60), 10, seed=3)
    assert found.dtype == np.float64 and found.tolist() == slow(weak, 4, 10, 3, 60)


def test_a_good_policy_reaches_the_limit_and_sampling_differs() -> None:
    assert play(upright, CartPole(10, limit=120), 10, seed=0).tolist() == [120.0] * 10
    flat = lambda observation: torch.zeros(len(observation), 2)  # noqa: E731
    first, again, other = (play(flat, CartPole(10), 20, seed=seed, greedy=False) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other) and 10 < first.mean() < 40
