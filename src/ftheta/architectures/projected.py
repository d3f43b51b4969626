"""A trunk of pictures and, on its features, a small network whose vectors are compared while it learns without labels: z = W₂ relu(W₁ h) (SimCLR, Chen et al.
2020, arXiv:2002.05709).

What is compared forgets what views of a picture differ in, such as colours, and the features below need not. So it is there for training alone: a model that
starts from this one takes over the trunk.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from ftheta.architectures import PICTURE_TRUNKS
from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.architectures.image_trunk import ImageTrunkConfig
from ftheta.blocks.initialise import normal
from ftheta.blocks.linear import Linear
from ftheta.core.config import Slot, slot
from ftheta.core.contract import Ports


class ProjectedConfig(ArchitectureConfig):
    """A trunk and the two layers on top of it."""

    kind: Literal["projected"] = "projected"
    trunk: Annotated[ImageTrunkConfig, Slot(PICTURE_TRUNKS)] = slot("resnet")
    """The network that learns; it answers as it would by itself."""
    hidden: int | None = Field(default=None, gt=0)
    """Width of the first layer; none: that of the features."""
    width: int = Field(default=128, gt=0)
    """Length of the vectors that are compared."""

    def ports(self) -> Ports:
        trunk = self.trunk.ports()
        return Ports(trunk.takes, {**trunk.gives, "embedding": "real B E"}, {**trunk.sizes, "E": self.width}, trunk.traits)

    def build(self) -> Projected:
        return Projected(self)


class Projected(Architecture):
    """image (B, C, H, W) → what the trunk gives, and embedding (B, E)."""

    def __init__(self, config: ProjectedConfig):
        super().__init__()
        self.config: ProjectedConfig = config
        features = config.trunk.ports().sizes["D"]
        hidden = config.hidden or features
        self.trunk = config.trunk.build()
        self.first, self.second = Linear(features, hidden), Linear(hidden, config.width)

    def forward(self, image: Tensor) -> Outputs:
        self.trunk.compute_dtype = self.compute_dtype                                     # set on the whole by whoever runs it
        found = self.trunk(image)
        return Outputs({**found, "embedding": self.second(self.first(found["features"]).relu())}, found.lazy)

    def initialise(self, seed: int) -> None:
        """The trunk as it says itself; the first layer N(0, 2 / fan_in), the second N(0, 1 / fan_in), biases 0."""
        self.trunk.initialise(seed)
        for name, part, gain in (("first", self.first, 2.0), ("second", self.second, 1.0)):
            normal(part.weight, (gain / part.weight.shape[1]) ** 0.5, seed, f"{name}.weight")
            if part.bias is not None:
                part.bias.data.zero_()

    def compiled_parts(self) -> list[nn.Module]:
        return self.trunk.compiled_parts()
