"""What every architecture that looks at pictures offers to dense tasks: its maps by name, each with its stride and channels, known without weights.

A map is called `stride_4` if one of its pixels stands for 4×4 of the picture's; of several with one stride the last counts. So whoever stands on a trunk
(a pyramid, a decoder with skips) asks its config for `levels()`, and the trunk itself for `maps(image)`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple, Self

from torch import Tensor

from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs


class Level(NamedTuple):
    """A map: how many pixels of the picture a pixel of it stands for, across and down, and how many channels it has."""

    stride: int
    channels: int

    @property
    def name(self) -> str:
        return f"stride_{self.stride}"


class ImageTrunkConfig(ArchitectureConfig):
    """The config of an architecture that looks at pictures."""

    @abstractmethod
    def steps(self) -> list[Level]:
        """What every step of it gives, in order."""

    def levels(self) -> dict[str, Level]:
        """The maps it gives, fine to coarse."""
        return {level.name: level for level in self.steps()}


class ImageTrunk(Architecture):
    """image (B, C, H, W) → its maps, step by step."""

    config: ImageTrunkConfig
    answering: ClassVar[tuple[str, ...]] = ("head",)
    """The parts that make an answer of the last map."""

    def without_answer(self) -> Self:
        """The trunk without the parts that answer, for whoever stands on its maps."""
        for name in self.answering:
            delattr(self, name)
        return self

    @abstractmethod
    def walk(self, image: Tensor) -> Iterator[Tensor]:
        """The map (B, channels, about H / stride, about W / stride) after every step."""

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        """The last map of every stride, as `config.levels()` names them, fine to coarse."""
        return {level.name: found for level, found in zip(self.config.steps(), self.walk(image), strict=True)}

    def last(self, image: Tensor) -> Tensor:
        """The map after the last step."""
        *_, found = self.walk(image)
        return found


class MapTrunk(ImageTrunk):
    """A trunk whose answers are read off its last map."""

    @abstractmethod
    def answer(self, last: Tensor) -> Outputs:
        """The last map (B, channels, H, W) → features (B, D), logits (B, K)."""

    def forward(self, image: Tensor) -> Outputs:
        return self.answer(self.last(image))
