"""What completions of the test prompts are worth, and whether preferred answers are found better."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from ftheta.architectures.architecture import call
from ftheta.core.config import Slot
from ftheta.core.errors import UsageError
from ftheta.core.random import key
from ftheta.data.processors.text import TextProcessor
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import mean, proportion
from ftheta.experience import REWARDS
from ftheta.experience.completions import Writer
from ftheta.experience.rewards.reward import Reward, worth
from ftheta.models.judging import Judges
from ftheta.objectives import PREFERENCES
from ftheta.objectives.objective import Objective, Phase


class MeanReward(Metric):
    """Mean reward of one completion of every test prompt, the share that ends by itself, and a few to read."""

    kind: Literal["mean_reward"] = "mean_reward"
    rewards: tuple[Annotated[Reward, Slot(REWARDS)], ...] = Field(default=({"kind": "arithmetic"},), min_length=1, validate_default=True)  # type: ignore[arg-type]
    """What a completion is worth: the weighted sum of these."""
    prompts: int = Field(default=1000, gt=0)
    """At most this many of the test prompts."""
    most: int = Field(default=64, gt=0)
    """At most this many tokens are written."""
    temperature: float = Field(default=0.0, ge=0)
    """Divides the logits; 0 takes the likeliest token."""
    shown: int = Field(default=5, ge=0)
    """How many completions the report shows."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B T V"}

    def measure(self, subject: Subject) -> Result:
        talks, processor = subject.prompts.get("test"), subject.model.processor
        if talks is None or not isinstance(processor, TextProcessor):
            raise UsageError("mean_reward needs a test split of prompts")
        model = subject.model.architecture
        writer = Writer(processor, self.most, self.temperature)
        asked = writer.questions(talks, model.config.ports().sizes["T"])[: self.prompts]
        completions = writer.complete(model, asked, key(subject.seed, "evaluate"))
        values = worth(self.rewards, completions, Judges(processor))[0].double().numpy()
        share = np.isin(values, (0.0, 1.0)).all()
        found = proportion(int(values.sum()), len(values)) if share else mean(values, subject.seed)
        ended = np.array([float(completion.ended) for completion in completions])
        ends = proportion(int(ended.sum()), len(ended))
        lines = [f"{completion.question}{completion.text}\n(reward {value:g})" for completion, value in zip(completions[: self.shown], values, strict=False)]
        return Result([
            Measurement("mean reward", found.value, found.low, found.high, len(values), "prompt", "higher", found.method, subject.seed, {"value": values}),
            Measurement("share ended by itself", ends.value, ends.low, ends.high, len(ended), "prompt", "higher", ends.method, subject.seed, {"value": ended}),
        ], texts={"completions of test prompts": "\n\n".join(lines)} if lines else {})


class Preferred(Metric):
    """Share of the test pairs whose preferred answer the model finds better, by the objective's own reward, and by how much it does."""

    kind: Literal["preferred"] = "preferred"
    objective: Annotated[Objective, Slot(PREFERENCES)]
    """Whose reward: that of a reward model, or the log-probability of an answer beside the start's."""

    def objectives(self) -> tuple[Objective, ...]:
        return (self.objective,)

    @torch.no_grad()
    def measure(self, subject: Subject) -> Result:
        pairs, model = split_of(subject, "preferred"), subject.model.architecture.eval()
        found = [self.objective.loss(model, lambda batch: call(model, batch), pairs.batch(torch.tensor([row])), Phase("main")).metrics for row in range(len(pairs))]
        right, ahead = (np.array([float(metrics[name][0]) for metrics in found]) for name in ("preferred", "reward_margin"))
        share, margin = proportion(int(right.sum()), len(right)), mean(ahead, subject.seed)
        return Result([
            Measurement("share of preferred answers ahead", share.value, share.low, share.high, len(right), "pair", "higher", share.method, subject.seed, {"value": right}),
            Measurement("reward margin", margin.value, margin.low, margin.high, len(ahead), "pair", "higher", margin.method, subject.seed, {"value": ahead}),
        ])
