"""A trunk of pictures that learns without labels from a teacher that is its own slow average (DINO, Caron et al. 2021, arXiv:2104.14294).

On the trunk's features h stands a network of three layers, and what it gives is compared with prototypes, both of length 1:

    z = W₃ gelu(W₂ gelu(W₁ h)),    s_k = p_k · z / (|p_k| |z|)

The teacher is the same once more; after every step its weights are m · teacher + (1 - m) · these, and the center, which is taken from what it says, is
n · center + (1 - n) · the mean of what it said in this step. Both belong to the model, so a run goes on from a checkpoint as if it had never stopped. What starts
from such a model takes over the trunk.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.architectures import PICTURE_TRUNKS
from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.architectures.image_trunk import ImageTrunkConfig
from ftheta.blocks.initialise import normal
from ftheta.blocks.linear import Linear
from ftheta.core import distributed
from ftheta.core.config import Slot, slot
from ftheta.core.contract import Ports


class SelfTaughtConfig(ArchitectureConfig):
    """A trunk, the layers and prototypes on top of it, and how fast the teacher follows."""

    kind: Literal["self_taught"] = "self_taught"
    trunk: Annotated[ImageTrunkConfig, Slot(PICTURE_TRUNKS)] = slot("resnet")
    """The network that learns; it answers as it would by itself."""
    hidden: int | None = Field(default=None, gt=0)
    """Width of the two inner layers; none: twice that of the features."""
    width: int = Field(default=128, gt=0)
    """Length of the vectors that are compared with prototypes."""
    prototypes: int = Field(default=1024, gt=1)
    """How many there are (65,536 for ImageNet)."""
    momentum: float = Field(default=0.996, ge=0, lt=1)
    """Share of the teacher's weights that a step leaves: m."""
    centering: float = Field(default=0.9, ge=0, lt=1)
    """Share of the center that a step leaves: n."""

    def ports(self) -> Ports:
        trunk = self.trunk.ports()
        gives = {**trunk.gives, "assigned": "real B P", "taught": "real B P"}
        return Ports(trunk.takes, gives, {**trunk.sizes, "P": self.prototypes}, trunk.traits)

    def build(self) -> SelfTaught:
        return SelfTaught(self)


class Assigning(nn.Module):
    """A trunk, with what it gives compared with prototypes."""

    def __init__(self, config: SelfTaughtConfig):
        super().__init__()
        features = config.trunk.ports().sizes["D"]
        hidden = config.hidden or 2 * features
        self.trunk = config.trunk.build()
        self.head = Prototypes(features, hidden, config.width, config.prototypes)


class Prototypes(nn.Module):
    """features (B, D) → cosines with every prototype (B, P)."""

    def __init__(self, features: int, hidden: int, width: int, count: int):
        super().__init__()
        self.first, self.second, self.third = Linear(features, hidden), Linear(hidden, hidden), Linear(hidden, width)
        self.prototypes = Linear(width, count, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        z = self.third(F.gelu(self.second(F.gelu(self.first(features)))))
        return F.linear(F.normalize(z, dim=-1), F.normalize(self.prototypes.weight, dim=-1).to(z.dtype))

    def initialise(self, seed: int) -> None:
        """Weights N(0, 2 / fan_in) below a gelu, N(0, 1 / fan_in) else, biases 0."""
        for name, part, gain in (("first", self.first, 2.0), ("second", self.second, 2.0), ("third", self.third, 1.0), ("prototypes", self.prototypes, 1.0)):
            normal(part.weight, (gain / part.weight.shape[1]) ** 0.5, seed, f"head.{name}.weight")
            if part.bias is not None:
                part.bias.data.zero_()


class SelfTaught(Architecture):
    """image (B, C, H, W) → what the trunk gives; assigned (B, P), and what the teacher says less the center: taught (B, P)."""

    center: Tensor
    said: Tensor
    """Sum of what the teacher has said in this step."""
    count: Tensor
    """Of how many pictures."""

    def __init__(self, config: SelfTaughtConfig):
        super().__init__()
        self.config: SelfTaughtConfig = config
        mine = Assigning(config)
        self.trunk, self.head = mine.trunk, mine.head
        self.teacher = Assigning(config).eval().requires_grad_(False)
        self.register_buffer("center", torch.zeros(config.prototypes))
        self.register_buffer("said", torch.zeros(config.prototypes), persistent=False)
        self.register_buffer("count", torch.zeros(()), persistent=False)

    def train(self, mode: bool = True) -> SelfTaught:
        super().train(mode)
        self.teacher.eval()                                                               # it drops nothing, and what its norms know is the model's
        return self

    def forward(self, image: Tensor) -> Outputs:
        self.trunk.compute_dtype = self.teacher.trunk.compute_dtype = self.compute_dtype  # set on the whole by whoever runs it
        found = self.trunk(image)
        lazy = {**found.lazy, "assigned": lambda: self.head(found["features"]), "taught": lambda: self.taught(image)}
        return Outputs(found, lazy)

    @torch.no_grad()
    def taught(self, image: Tensor) -> Tensor:
        """What the teacher says, less the center (B, P), in float32; in training it is counted for the center."""
        found = self.teacher.head(self.teacher.trunk(image)["features"]).to(self.center.dtype)
        if self.training:
            self.said += found.sum(0)
            self.count += len(found)
        return found - self.center

    @torch.no_grad()
    def follow(self) -> None:
        """The teacher and the center follow."""
        theirs, mine = self.teacher.state_dict(), {**prefixed("trunk", self.trunk), **prefixed("head", self.head)}
        weights = [name for name, _ in self.teacher.named_parameters()]
        torch._foreach_lerp_([theirs[name] for name in weights], [mine[name] for name in weights], 1 - self.config.momentum)
        for name in theirs.keys() - set(weights):                                         # what norms know of their inputs is as old as the model's
            theirs[name].copy_(mine[name])
        distributed.sum_([self.said, self.count])
        if self.count:
            self.center.lerp_(self.said / self.count, 1 - self.config.centering)
        self.said.zero_()
        self.count.zero_()

    def initialise(self, seed: int) -> None:
        """The trunk as it says itself, the layers on it as they do; the teacher is the same, the center 0."""
        self.trunk.initialise(seed)
        self.head.initialise(seed)
        self.teacher.load_state_dict({**prefixed("trunk", self.trunk), **prefixed("head", self.head)})
        for buffer in (self.center, self.said, self.count):
            buffer.zero_()

    def compiled_parts(self) -> list[nn.Module]:
        return self.trunk.compiled_parts()


def prefixed(name: str, part: nn.Module) -> dict[str, Tensor]:
    """What a part saves, under its name in the teacher."""
    return {f"{name}.{key}": value for key, value in part.state_dict().items()}
