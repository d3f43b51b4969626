"""Tasks of policies: choose an action."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.data.processors.plain import PlainProcessor
from ftheta.models.tasks.task import Task


class Observation(Config):
    """What is seen now."""

    observation: list[float]
    """The environment's numbers, in its order."""


class Action(Config):
    """What to do."""

    action: int
    """Number of the likeliest action."""
    probabilities: list[float]
    """Of every action."""


class ReinforcementLearning(Task[Observation, Action, PlainProcessor]):
    """Choose an action for an observation."""

    name = "reinforcement-learning"
    input = Observation
    output = Action

    @torch.no_grad()
    def run(self, inputs: Sequence[Observation]) -> list[Action]:
        width = self.architecture.config.ports().sizes["D"]
        for i, seen in enumerate(inputs):
            if len(seen.observation) != width:
                raise UsageError(f"observation {i} has {len(seen.observation)} numbers, the policy takes {width}")
        logits = self.architecture(observation=torch.tensor([seen.observation for seen in inputs]))["logits"]
        shares = logits.double().softmax(-1)
        return [Action(action=int(row.argmax()), probabilities=[round(float(p), 6) for p in row]) for row in shares]

    def show(self, output: Action) -> str:
        return f"action {output.action}  (" + ", ".join(f"{p:.1%}" for p in output.probabilities) + ")"
