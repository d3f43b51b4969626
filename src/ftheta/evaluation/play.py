"""Episode returns of a policy, many episodes side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ftheta.core.random import generator
from ftheta.experience.environments.environment import Environment


@torch.no_grad()
def play(policy: Callable[[Tensor], Tensor], environment: Environment, episodes: int, seed: int, greedy: bool = True) -> np.ndarray:
    """Undiscounted returns (episodes,) float64; a pure function of policy, seed and the number of copies.

    `policy` maps observations (N, D) to logits (N, A); the likeliest action is taken, or, unless `greedy`, one is drawn. Every copy
    plays the same number of episodes, so short ones are not counted more often than long ones.
    """
    observation = environment.reset(seed)
    rounds = -(-episodes // environment.count)
    returns = torch.zeros(rounds + 1, environment.count, dtype=torch.float64)            # the last row takes what is played beyond the rounds
    copy, finished = torch.arange(environment.count), torch.zeros(environment.count, dtype=torch.long)
    draws = generator(seed, "play")
    while bool((finished < rounds).any()):
        logits = policy(observation).float().cpu()
        if not greedy:
            logits = logits - torch.rand(logits.shape, generator=draws).clamp_min(1e-20).log().neg().log()
        transition = environment.step(logits.argmax(-1))
        returns[finished, copy] += transition.reward.double()
        finished = (finished + (transition.terminated | transition.truncated)).clamp_max(rounds)
        observation = transition.observation
    return returns[:rounds].flatten()[:episodes].numpy()
