"""A policy and a value function of what is observed: logits over actions and V(s), each by its own small network.

Two networks, not one with two heads: the value's large gradients then cannot disturb the policy (Andrychowicz et al. 2021,
arXiv:2006.05990, who also find tanh and a last policy layer near zero best).
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.blocks.initialise import orthogonal
from ftheta.blocks.linear import Linear
from ftheta.core.config import from_data
from ftheta.core.contract import Ports


class ActorCriticConfig(ArchitectureConfig):
    """Sizes of an actor and a critic."""

    kind: Literal["actor_critic"] = "actor_critic"
    features: int = from_data("D")
    """Numbers in an observation."""
    actions: int = from_data("A")
    """Actions to choose from."""
    hidden: tuple[int, ...] = Field((64, 64), min_length=1)
    """Widths of the hidden layers of both networks."""

    def ports(self) -> Ports:
        return Ports(
            takes={"observation": "observation B D"}, gives={"logits": "logits B A", "value": "value B"},
            sizes={"D": self.features, "A": self.actions}, traits=frozenset({"gradients"}),
        )

    def build(self) -> ActorCritic:
        return ActorCritic(self)


class ActorCritic(Architecture):
    """observation (B, D) → logits (B, A), value (B,); each is computed when read, so acting costs no value."""

    def __init__(self, config: ActorCriticConfig):
        super().__init__()
        self.config: ActorCriticConfig = config
        self.actor = network(config.features, config.hidden, config.actions)
        self.critic = network(config.features, config.hidden, 1)

    def forward(self, observation: Tensor) -> Outputs:
        x = observation.to(self.compute_dtype)
        return Outputs({}, lazy={"logits": lambda: self.actor(x), "value": lambda: self.critic(x).squeeze(-1)})

    def initialise(self, seed: int) -> None:
        """Orthogonal, gain sqrt(2) before a tanh, 0.01 for the policy's last layer and 1 for the value's; biases 0."""
        last = {id(self.actor[-1].weight): 0.01, id(self.critic[-1].weight): 1.0}
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                parameter.data.zero_()
            else:
                orthogonal(parameter, last.get(id(parameter), math.sqrt(2)), seed, name)


def network(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [Linear(inputs, width), nn.Tanh()]
        inputs = width
    return nn.Sequential(*layers, Linear(inputs, outputs))
