"""Learning from completions that were rewarded: PPO's clipped ratio, token by token, with GRPO's advantages and nearness to the start.

With r_t = π(y_t | x, y_<t) / π_old(y_t | x, y_<t) for the tokens t of a completion y, A_t its advantage and p_t the start's probability over π's,
    l_t = -min(r_t A_t, clip(r_t, 1-ε, 1+ε') A_t) + β (p_t - 1 - log p_t) - c H[π(· | x, y_<t)]
where π is softmax(z / τ) at the temperature τ the completions were drawn at. What the mean is taken over:

    sequence   1/B Σ_y 1/|y| Σ_t l_t     GRPO: Shao et al. 2024, arXiv:2402.03300
    token      Σ_y Σ_t l_t / Σ_y |y|     DAPO: Yu et al. 2025, arXiv:2503.14476 (ε' larger than ε is theirs too)
    constant   1/B Σ_y Σ_t l_t / length  Dr. GRPO: Liu et al. 2025, arXiv:2503.20783; long wrong answers are not let off lightly

With a value function V (PPO: Schulman et al. 2017, arXiv:1707.06347; of texts: Ouyang et al. 2022, arXiv:2203.02155), R_t being the return and V_t what the value was
when the completion was written,
    l_t += c_v max((V - R_t)², (clip(V, V_t - δ, V_t + δ) - R_t)²)

All of them are a sum and a count, so micro-batches and processes give the same gradient.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Objective, Phase, Run
from ftheta.objectives.policy import divergence, surrogate


class CompletionPolicy(Objective):
    """Make completions that were rewarded more than others likelier, but stay near the policy that wrote them."""

    kind: Literal["completion_policy"] = "completion_policy"
    clip: float = Field(default=0.2, gt=0, lt=1)
    """How far below 1 the probability ratio may usefully move, ε."""
    clip_above: float | None = Field(default=None, gt=0)
    """How far above 1; none: as far as below."""
    kl: float = Field(default=0.04, ge=0)
    """Weight of the divergence from the model that training starts from, β; 0 needs no start."""
    entropy: float = Field(default=0.0, ge=0)
    """Weight of the policy's entropy, c: more keeps it exploring."""
    normalise: Literal["sequence", "token", "constant"] = "sequence"
    """What the mean is taken over: completions and in each its tokens, all tokens alike, or completions whose sums are divided by `length`."""
    length: int = Field(default=1, gt=0)
    """What a completion's sum is divided by with `normalise: constant`; Dr. GRPO takes the most tokens there can be."""

    value: float = Field(default=0.0, ge=0)
    """Weight of the squared error of the value function, c_v; 0: there is none. It is for a source with `advantage: generalised`."""
    value_clip: float | None = Field(default=None, gt=0)
    """How far a value may usefully move from what it was when the completion was written, δ; none: any way."""

    @model_validator(mode="after")
    def clips_something(self) -> CompletionPolicy:
        if self.value_clip is not None and not self.value:
            raise ValueError("value_clip: there is no value function to bound with value: 0; leave it out, or give value a weight")
        return self

    @property
    def compares(self) -> bool:
        return self.kl > 0

    def needs(self) -> Needs:
        real = dict.fromkeys(("log_probability", "advantage"), "real B T")
        said = {"reference_log_probability?": "real B T"} if self.compares else {}
        real |= dict.fromkeys(("value", "return") if self.value else (), "real B T")
        valued = dict.fromkeys(["values"] if self.value else [], "real B T")
        return Needs(
            reads={"tokens": "ids B T", "documents": "ids B T", "learned": "mask B T", **real, "temperature": "real B", **said}, feeds={"tokens": "ids B T"},
            wants={"hidden": "real B T D", "logits": "logits B T V", **valued},
            traits={"causal": "the model looks at both sides of a token, so it cannot have written the completions; choose a decoder", "gradients": NO_GRADIENTS},
        )

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        said = written(model, run, batch)
        old, advantage = (batch[name][:, 1:][said.learned] for name in ("log_probability", "advantage"))
        log_ratio = said.log_probability - old.to(said.log_probability)
        ratio = log_ratio.exp()
        above = self.clip if self.clip_above is None else self.clip_above
        each = -surrogate(ratio, advantage.to(ratio), self.clip, above) - self.entropy * said.entropy
        tokens = len(each)
        metrics: dict[str, tuple[Tensor | float, Tensor | float]] = {}
        if self.compares:
            away = divergence(batch["reference_log_probability"][:, 1:][said.learned].to(each) - said.log_probability)
            each = each + self.kl * away
            metrics["reference_kl"] = (away.detach().sum(), tokens)
        with torch.no_grad():
            clipped = ((ratio < 1 - self.clip) & (advantage < 0)) | ((ratio > 1 + above) & (advantage > 0))
            metrics |= {"kl": (divergence(log_ratio).sum(), tokens), "clipped": (clipped.sum(), tokens), "entropy": (said.entropy.sum(), tokens)}
        if self.value:
            error = self.value_error(said, batch)
            each = each + self.value * error
            metrics["value_loss"] = (error.detach().sum(), tokens)
        if self.normalise == "sequence":
            each = each / said.learned.sum(1, keepdim=True).expand_as(said.learned)[said.learned]
        elif self.normalise == "constant":
            each = each / self.length
        return Loss(each.sum(), tokens if self.normalise == "token" else len(batch["tokens"]), metrics)

    def value_error(self, said: Written, batch: Batch) -> Tensor:
        """(N,): squared errors of the values, those bounded that left what they were."""
        assert said.values is not None
        before, wanted = (batch[name][:, 1:][said.learned].to(said.values) for name in ("value", "return"))
        error = (said.values - wanted).square()
        if self.value_clip is None:
            return error
        return torch.maximum(error, (before + (said.values - before).clamp(-self.value_clip, self.value_clip) - wanted).square())

    def reference(self, model: nn.Module, run: Run, batch: Batch) -> Batch:
        return {"reference_log_probability": log_probabilities(model, run, batch)}

    def tasks(self) -> dict[str, str]:
        return {"tokens": "text-generation"}


class Written(NamedTuple):
    """What a policy says of the N learned tokens of a batch of B rows of T tokens."""

    learned: Tensor
    """(B, T-1) bool: which tokens after the first of a row these are."""
    log_probability: Tensor
    """(N,)."""
    entropy: Tensor
    """(N,), of the whole distribution they were drawn from."""
    values: Tensor | None
    """(N,), what was to be had before each of them, of a model that gives values."""


def written(model: nn.Module, run: Run, batch: Batch) -> Written:
    """How likely the model finds the learned tokens, at the temperature they were drawn at."""
    learned = batch["learned"][:, 1:]
    outputs = run({"tokens": batch["tokens"][:, :-1], "documents": batch["documents"][:, :-1]})
    hidden = outputs["hidden"]
    temperature = batch["temperature"][:, None].expand_as(learned)[learned]
    found = model.head.policy(hidden[learned], batch["tokens"][:, 1:][learned], temperature)  # type: ignore[operator, union-attr]
    log_probability, entropy = found.unbind(-1)
    return Written(learned, log_probability, entropy, outputs["values"][learned].to(found) if "values" in outputs else None)


@torch.no_grad()
def log_probabilities(model: nn.Module, run: Run, batch: Batch) -> Tensor:
    """(B, T): log p of every learned token, 0 elsewhere."""
    return said_of(model, run, batch)["log_probability"]


@torch.no_grad()
def said_of(model: nn.Module, run: Run, batch: Batch) -> Batch:
    """log_probability (B, T) of every learned token and, of a model that gives values, value (B, T) before it was written; 0 elsewhere."""
    said = written(model, run, batch)
    columns = {"log_probability": said.log_probability, **({} if said.values is None else {"value": said.values})}
    found = {name: column.new_zeros(batch["tokens"].shape) for name, column in columns.items()}
    for name, column in columns.items():
        found[name][:, 1:][said.learned] = column
    return found
