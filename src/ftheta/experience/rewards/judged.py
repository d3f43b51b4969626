"""A reward that a model gives: one trained on which of two answers people preferred (objective `reward`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ftheta.core.errors import UsageError
from ftheta.data.sources.source_config import Judge
from ftheta.experience.rewards.reward import Completion, Reward


class RewardModel(Reward):
    """The number that a reward model gives to prompt and completion together; it must know the same tokens."""

    kind: Literal["model"] = "model"
    path: str = "runs/reward/model"
    """The reward model's folder."""

    def scores(self, completions: Sequence[Completion], judge: Judge | None) -> list[float]:
        if judge is None:
            raise UsageError(f"reward 'model': nobody is there to ask {self.path}")
        return judge(self.path, [[*completion.prompt, *completion.new] for completion in completions])
