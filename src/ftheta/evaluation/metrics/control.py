"""Metrics of policies: returns of episodes played in a fresh environment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ftheta.core.errors import UsageError
from ftheta.core.random import key
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.play import play
from ftheta.evaluation.statistics import mean
from ftheta.experience.rollouts import RolloutsConfig


class MeanReturn(Metric):
    """Mean return of whole episodes that training has not seen."""

    kind: Literal["mean_return"] = "mean_return"
    episodes: int = Field(default=100, gt=1)
    """How many."""
    greedy: bool = True
    """Take the likeliest action, or draw from the policy."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B A"}

    def measure(self, subject: Subject) -> Result:
        if not isinstance(subject.source, RolloutsConfig):
            raise UsageError("mean_return needs a source that acts in an environment")
        model = subject.model.architecture.eval()
        environment = subject.source.build_environment(min(self.episodes, 100))
        returns = play(lambda seen: model(observation=seen)["logits"], environment, self.episodes, key(subject.seed, "evaluate") % 2**31, self.greedy)
        found = mean(returns, subject.seed)
        return Result([Measurement("mean return", found.value, found.low, found.high, len(returns), "episode", "higher", found.method, subject.seed, {"value": returns})])
