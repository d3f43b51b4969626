"""A pole on a cart, balanced by pushing left or right (Barto, Sutton & Anderson 1983). Equal to gymnasium's CartPole-v1, copy by copy.

With force F, angle θ, masses m (pole) and M (together) and half the pole's length l:
    u = (F + m l θ'² sin θ) / M,   θ'' = (g sin θ - u cos θ) / (l (4/3 - m cos² θ / M)),   x'' = u - m l θ'' cos θ / M
and one Euler step of 0.02 s. Reward 1 a step, until |x| > 2.4, |θ| > 12° or the time limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ftheta.core.random import generator
from ftheta.experience.environments.environment import Environment, Transition

GRAVITY = 9.8
POLE_MASS = 0.1
MASS = POLE_MASS + 1.0
LENGTH = 0.5
MOMENT = POLE_MASS * LENGTH
FORCE = 10.0
SECONDS = 0.02
POSITION_LIMIT = 2.4
ANGLE_LIMIT = 12 * 2 * math.pi / 360


class CartPole(Environment):
    """Observation: position, velocity, angle, angular velocity. Actions: 0 pushes left, 1 right."""

    observation_size = 4
    actions = 2

    def __init__(self, count: int, *, limit: Annotated[int, Field(gt=0, description="Steps after which an episode is cut.")] = 500):
        super().__init__(count)
        self.limit = limit
        self.seed = 0
        # numpy, not torch: a step is two dozen operations on a few numbers, and numpy's cost per operation is a fraction of torch's
        self.states = np.zeros((4, count))
        self.steps = np.zeros(count, dtype=np.int64)
        self.episodes = np.zeros(count, dtype=np.int64)

    def reset(self, seed: int) -> Tensor:
        self.seed = seed
        self.steps[:] = 0
        self.episodes[:] = 0
        for copy in range(self.count):
            self.states[:, copy] = self.start(copy)
        return self.observe()

    def start(self, copy: int) -> np.ndarray:
        """U(-0.05, 0.05) in all four coordinates."""
        draw = torch.rand(4, dtype=torch.float64, generator=generator(self.seed, "start", copy, int(self.episodes[copy])))
        return (draw * 0.1 - 0.05).numpy()

    def observe(self) -> Tensor:
        return torch.from_numpy(self.states.T.astype(np.float32, order="C"))

    def step(self, actions: Tensor) -> Transition:
        self.states = advance(self.states, actions.numpy())
        self.steps += 1
        x, angle = self.states[0], self.states[2]
        terminated = (np.abs(x) > POSITION_LIMIT) | (np.abs(angle) > ANGLE_LIMIT)
        over = self.steps >= self.limit
        final = observation = self.observe()
        ended = np.flatnonzero(terminated | over)
        if len(ended):
            self.episodes[ended] += 1
            self.steps[ended] = 0
            for copy in ended.tolist():
                self.states[:, copy] = self.start(copy)
            observation = self.observe()
        return Transition(observation, final, torch.ones(self.count), torch.from_numpy(terminated), torch.from_numpy(over & ~terminated))

    def state(self) -> dict[str, Tensor]:
        return {
            "states": torch.from_numpy(self.states.copy()), "steps": torch.from_numpy(self.steps.copy()),
            "episodes": torch.from_numpy(self.episodes.copy()), "seed": torch.tensor(self.seed, dtype=torch.int64),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> Tensor:
        self.states, self.steps, self.episodes = (tensors[name].cpu().numpy().copy() for name in ("states", "steps", "episodes"))
        self.seed = int(tensors["seed"])
        return self.observe()


def advance(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The next states (4, N) float64 after actions (N,), in gymnasium's order of operations, so that results are equal to the bit."""
    x, velocity, angle, turn = states
    force = np.where(actions == 1, FORCE, -FORCE)
    cos, sin = np.cos(angle), np.sin(angle)
    push = (force + MOMENT * np.square(turn) * sin) / MASS
    turning = (GRAVITY * sin - cos * push) / (LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cos) / MASS))
    acceleration = push - MOMENT * turning * cos / MASS
    return np.stack([x + SECONDS * velocity, velocity + SECONDS * acceleration, angle + SECONDS * turn, turn + SECONDS * turning])
