"""What stands on the maps of a picture's trunk and answers at their pixels: the trunk is a slot, its own answer is left out."""

from __future__ import annotations

from abc import ABC
from typing import Annotated

from torch import Tensor, nn

from ftheta.architectures import PICTURE_TRUNKS
from ftheta.architectures.architecture import Architecture, ArchitectureConfig
from ftheta.architectures.image_trunk import ImageTrunkConfig, Level
from ftheta.blocks.convolution import ConvNorm
from ftheta.blocks.initialise import kaiming, normal
from ftheta.blocks.linear import Conv2d
from ftheta.core.config import Slot, slot


class DenseConfig(ArchitectureConfig, ABC):
    """A trunk of pictures, which also says how many channels and classes there are."""

    trunk: Annotated[ImageTrunkConfig, Slot(PICTURE_TRUNKS)] = slot("resnet")
    """The network whose maps are used; what it would answer itself is left out."""

    @property
    def classes(self) -> int:
        return self.trunk.ports().sizes["K"]

    def chosen(self, strides: tuple[int, ...] | None, field: str) -> list[Level]:
        """The trunk's maps of these strides, fine to coarse; all of them where none are named. Raises ValueError for one that is not there."""
        levels = {level.stride: level for level in self.trunk.levels().values()}
        if missing := [stride for stride in strides or () if stride not in levels]:
            raise ValueError(f"{field}: the trunk has no map of stride {missing[0]}, only of {', '.join(map(str, levels))}")
        return [level for stride, level in sorted(levels.items()) if strides is None or stride in strides]


class Dense(Architecture, ABC):
    """A trunk's maps, and parts on top of them."""

    config: DenseConfig

    def __init__(self, config: DenseConfig):
        super().__init__()
        self.trunk = config.trunk.build().without_answer()                                # type: ignore[attr-defined]

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        """The trunk's maps of pictures (B, C, H, W), by name."""
        self.trunk.compute_dtype = self.compute_dtype                                     # set on the whole by whoever runs it
        return self.trunk.maps(image)

    def initialise(self, seed: int) -> None:
        """The trunk as it says itself; on top of it convolutions N(0, 2 / fan_out), linear maps N(0, 1 / fan_in), norms 1 and 0, biases 0."""
        self.trunk.initialise(seed)
        groups = {f"{name}.weight": part.groups for name, part in self.named_modules() if isinstance(part, Conv2d)}
        for name, parameter in self.named_parameters():
            if name.startswith("trunk."):
                continue
            if parameter.ndim == 4:
                kaiming(parameter, seed, name, groups=groups[name])
            elif parameter.ndim == 2:
                normal(parameter, parameter.shape[1] ** -0.5, seed, name)
            else:
                parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
        for name, buffer in self.named_buffers():
            if not name.startswith("trunk."):
                buffer.fill_(1 if name.endswith("running_var") else 0)

    def compiled_parts(self) -> list[nn.Module]:
        return [*self.trunk.compiled_parts(), *(part for part in self.modules() if isinstance(part, ConvNorm) and part not in set(self.trunk.modules()))]
