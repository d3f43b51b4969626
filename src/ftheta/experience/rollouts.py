"""Batches from acting with the live model: rollouts, advantages and minibatches for policy gradients.

An iteration acts `horizon` steps in `envs` copies of an environment, then serves the transitions `epochs` times in random minibatches
of `train.batch` rows. With δ_t = r_t + γ V(s_{t+1}) - V(s_t), generalised advantage estimation (Schulman et al. 2016,
arXiv:1506.02438) is
    A_t = δ_t + γ λ A_{t+1}   within an episode,   return_t = A_t + V(s_t)
where V(s_{t+1}) is 0 after termination and, when the time limit cuts an episode, the value of the state it was cut at.

Advantages are normalised over the rollout, never over a minibatch, so that micro-batches and processes stay exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from ftheta.architectures.architecture import Architecture, call
from ftheta.core.config import Part, Slot, slot
from ftheta.core.contract import Batch, Ports
from ftheta.core.random import generator, key
from ftheta.data.sources.source_config import Prepared
from ftheta.data.stages import digest
from ftheta.experience import ENVIRONMENTS
from ftheta.experience.environments.environment import Environment
from ftheta.experience.experience import ExperienceConfig
from ftheta.experience.iterations import Iterations, under

RECENT = 100
"""Finished episodes that statistics are taken over."""


class RolloutsConfig(ExperienceConfig):
    """Where and how long to act between updates."""

    kind: Literal["rollouts"] = "rollouts"
    environment: Annotated[Part, Slot(ENVIRONMENTS)] = slot("cartpole")
    """The world to act in."""
    envs: int = Field(default=8, gt=0)
    """Copies of it, acted in side by side."""
    horizon: int = Field(default=128, gt=0)
    """Steps of every copy between updates."""
    epochs: int = Field(default=10, gt=0)
    """Times every transition is learned from."""
    gamma: float = Field(default=0.99, ge=0, le=1)
    """Worth of a reward one step later, γ."""
    trace: float = Field(default=0.95, ge=0, le=1)
    """How far an advantage looks ahead, λ: 0 trusts the value of the next state, 1 the whole episode."""
    normalise_advantages: bool = True
    """Whether the advantages of a rollout are shifted and scaled to mean 0 and variance 1."""

    def ports(self) -> Ports:
        world = self.build_environment(1)
        return Ports(
            gives={"observation": "observation B D", "action": "action B", "log_probability": "real B", "advantage": "real B",
                   "return": "real B", "value": "real B"},
            sizes={"D": world.observation_size, "A": world.actions},
        )

    def build_environment(self, count: int) -> Environment:
        """`count` fresh copies, for acting in or for evaluation."""
        return self.environment.build(count=count)

    def shorter(self, rows: int) -> Self:
        return self.replace(envs=4, horizon=rows, epochs=1)

    def source(self, batch: int, seed: int, prepared: Prepared) -> Rollouts:
        """The source of a run whose steps take `batch` rows."""
        return Rollouts(self, batch, seed)


class Rollouts(Iterations):
    """Iterations of `envs` · `horizon` transitions."""

    def __init__(self, config: RolloutsConfig, batch_size: int, seed: int):
        what = f"transitions of a rollout (data.source.envs · horizon = {config.envs:,} · {config.horizon:,})"
        super().__init__(config.envs * config.horizon, what, config.epochs, batch_size, seed)
        self.config = config
        self.environment = config.build_environment(config.envs)
        self.observation = self.environment.reset(key(seed, "environment"))
        self.returns = torch.zeros(config.envs)
        self.recent = torch.zeros(0)
        self.episodes = 0

    @property
    def ports(self) -> Ports:
        return self.config.ports()

    @property
    def fingerprint(self) -> str:
        return digest({**self.config.dump(), "seed": self.seed})

    @torch.no_grad()
    def act(self, model: Architecture, iteration: int) -> Batch:
        """One rollout: tensors of horizon · envs rows, time first."""
        config = self.config
        device = next(model.parameters()).device
        shape = (config.horizon, config.envs)
        # the largest of logit + Gumbel noise is a sample of the softmax, with noise that can be drawn before the logits are known
        noise = -torch.rand(*shape, self.environment.actions, generator=generator(self.seed, "act", iteration)).clamp_min(1e-20).log().neg().log()
        observations, finals, logits, actions, rewards, terminated, truncated = [], [], [], [], [], [], []
        for time in range(config.horizon):
            scores = call(model, {"observation": self.observation.to(device)})["logits"].float().cpu()
            action = (scores + noise[time]).argmax(-1)
            transition = self.environment.step(action)
            for record, value in zip(
                (observations, logits, actions, finals, rewards, terminated, truncated), (self.observation, scores, action, *transition[1:]), strict=True
            ):
                record.append(value)
            self.observation = transition.observation
            self.count(transition.reward, transition.terminated | transition.truncated)
        seen, reached = torch.stack(observations), torch.stack(finals)
        value, following = (call(model, {"observation": x.flatten(0, 1).to(device)})["value"].float().cpu().view(shape) for x in (seen, reached))
        advantage = advantages(
            torch.stack(rewards), value, following, torch.stack(terminated), torch.stack(truncated), config.gamma, config.trace
        )
        action = torch.stack(actions)
        rollout = {
            "observation": seen, "action": action, "value": value, "return": advantage + value,
            "log_probability": torch.stack(logits).log_softmax(-1).gather(-1, action[..., None])[..., 0],
            "advantage": (advantage - advantage.mean()) / (advantage.std() + 1e-8) if config.normalise_advantages else advantage,
        }
        return {name: values.flatten(0, 1) for name, values in rollout.items()}

    def count(self, reward: Tensor, ended: Tensor) -> None:
        """Keep the books of episode returns."""
        self.returns += reward
        if ended.any():
            self.recent = torch.cat([self.recent, self.returns[ended]])[-RECENT:]
            self.returns[ended] = 0
            self.episodes += int(ended.sum())

    def statistics(self) -> dict[str, float]:
        """What acting has given so far; the return is the mean over the last 100 finished episodes."""
        facts = {"episodes": float(self.episodes)}
        return {"episode_return": self.recent.mean().item(), **facts} if len(self.recent) else facts

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = super().state()
        tensors |= {f"environment.{name}": value for name, value in self.environment.state().items()}
        return {**tensors, "returns": self.returns.clone(), "recent": self.recent}, {**facts, "episodes": self.episodes}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        super().restore(tensors, facts)
        self.observation = self.environment.restore(under("environment.", tensors))
        self.returns, self.recent = tensors["returns"].clone(), tensors["recent"].clone()
        self.episodes = facts["episodes"]


def advantages(
    reward: Tensor, value: Tensor, following: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, trace: float
) -> Tensor:
    """Generalised advantage estimates (T, N); `following` is the value of the state each action led to, before any new episode."""
    delta = reward + gamma * following * ~terminated - value
    carry = gamma * trace * (~(terminated | truncated)).to(delta)
    result = torch.empty_like(delta)
    ahead = torch.zeros_like(delta[0])
    for time in reversed(range(len(delta))):
        ahead = result[time] = delta[time] + carry[time] * ahead
    return result
