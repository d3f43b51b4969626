"""A vision transformer that sees some patches of a picture, and a smaller one that draws the others from what it made of them (MAE, He et al. 2021,
arXiv:2111.06377).

The hidden patches cost the large network nothing: with 3 of 4 hidden it does a quarter of the work. The small one gets one learned vector for all of them, each
with its place. It is there for training alone: asked without hidden patches the model sees all of a picture, and what starts from it takes over the trunk.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ftheta.architectures import PATCH_TRUNKS
from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.architectures.decoder import Layer
from ftheta.architectures.vit import ViTConfig, joined, through
from ftheta.blocks import FEEDFORWARDS, PATCH_MIXERS, PATCH_POSITIONS
from ftheta.blocks.context import Context
from ftheta.blocks.initialise import normal
from ftheta.blocks.linear import Linear
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.patch_attention import PatchAttention
from ftheta.blocks.residual import Residual
from ftheta.core.config import Part, Slot, slot
from ftheta.core.contract import Ports
from ftheta.core.errors import DataError


class MaskedAutoencoderConfig(ArchitectureConfig):
    """The trunk, and what draws hidden patches."""

    kind: Literal["masked_autoencoder"] = "masked_autoencoder"
    trunk: Annotated[ViTConfig, Slot(PATCH_TRUNKS)] = slot("vit", positions={"kind": "sincos"})
    """The network that sees what is not hidden; it answers as it would by itself."""
    dim: int = Field(default=512, gt=0)
    """Width of the network that draws."""
    depth: int = Field(default=8, gt=0)
    """Its layers."""
    positions: Annotated[Part, Slot(PATCH_POSITIONS)] = slot("sincos")
    """How it knows where a patch lies."""
    mixer: Annotated[Part, Slot(PATCH_MIXERS)] = slot("attention", heads=16, bias=True)
    """How its tokens exchange information."""
    feedforward: Annotated[Part, Slot(FEEDFORWARDS)] = slot("mlp", activation="gelu", bias=True)
    """What it computes at each token by itself; its norms are the trunk's."""

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if self.trunk.pixels:
            raise ValueError("trunk.pixels: pixels are drawn by the network on top of the trunk: leave it out")
        if any(not issubclass(mixer.cls, PatchAttention) for mixer in self.trunk.mixers):
            raise ValueError("trunk.mixer: windows need all patches of a picture, and some are hidden: choose attention")
        with torch.device("meta"):
            MaskedAutoencoder(self)
        return self

    def ports(self) -> Ports:
        trunk = self.trunk.ports()
        return Ports({**trunk.takes, "chosen?": "mask B H W"}, {**trunk.gives, "pixels": "image B C H W"}, trunk.sizes, trunk.traits | self.feedforward.traits - {"auxiliary"})

    def build(self) -> MaskedAutoencoder:
        return MaskedAutoencoder(self)


class MaskedAutoencoder(Architecture):
    """image (B, C, H, W) and which pixels are hidden (B, H, W), whole patches and as many of every picture → what the trunk gives, and pixels (B, C, H, W) of the whole
    patches.
    """

    def __init__(self, config: MaskedAutoencoderConfig):
        super().__init__()
        self.config: MaskedAutoencoderConfig = config
        dim, norm = config.dim, config.trunk.norm
        self.trunk = config.trunk.build()
        side = self.trunk.stem.stride
        self.narrow = Linear(config.trunk.dim, dim)
        self.blank = nn.Parameter(torch.zeros(1, 1, dim))
        parts = (config.mixer, config.feedforward)
        self.layers = nn.ModuleList(
            Layer(*(Residual(part.build(dim=dim), before=norm.build(dim=dim)) for part in parts)) for _ in range(config.depth)
        )
        grid = (config.trunk.height // side, config.trunk.width // side)
        head_dim = getattr(self.layers[0].get_submodule("mix.inner"), "head_dim", None)
        self.positions = config.positions.build(dim=dim, grid=grid, first=config.trunk.first, head_dim=head_dim)
        self.norm = norm.build(dim=dim)
        self.pixels = Linear(dim, config.trunk.channels * side**2)

    def forward(self, image: Tensor, chosen: Tensor | None = None) -> Outputs:
        self.trunk.compute_dtype = self.compute_dtype                                     # set on the whole by whoever runs it
        seen = None if chosen is None else self.seen(chosen)
        hidden, context = self.trunk.encoded(image, seen)
        answers = self.trunk.answer(hidden, context)
        return Outputs(answers, {**answers.lazy, "pixels": lambda: self.drawn(hidden, context, seen)})

    def seen(self, chosen: Tensor) -> Tensor:
        """(B, N): the numbers of the patches that are not hidden, in order. Raises DataError where these are not whole patches, or not as many of every picture."""
        side = self.trunk.stem.stride
        rows, columns = (size // side for size in chosen.shape[1:])
        patches = chosen[:, : rows * side, : columns * side].unflatten(2, (columns, side)).unflatten(1, (rows, side)).transpose(2, 3).flatten(3)
        hidden = patches[..., 0].flatten(1)
        counts = hidden.sum(1)
        if (patches != patches[..., :1]).any() or (counts != counts[:1]).any():
            raise DataError(
                f"what is hidden of pictures of {chosen.shape[1]}×{chosen.shape[2]} pixels are not whole patches of {side}×{side}, or not as many of every picture: "
                f"choose objective.patch and pictures that are multiples of {side}"
            )
        return hidden.long().argsort(dim=1, stable=True)[:, : hidden.shape[1] - int(counts[0])]

    def drawn(self, hidden: Tensor, context: Context, seen: Tensor | None) -> Tensor:
        """What the trunk made of the patches that were seen → the pixels of all of them (B, C, H, W)."""
        assert context.grid is not None
        first, (rows, columns) = self.config.trunk.first, context.grid
        tokens = self.narrow(hidden)
        patches = tokens[:, first:]
        if seen is not None:
            blank = self.blank.to(tokens.dtype).expand(len(tokens), rows * columns, -1)
            patches = blank.scatter(1, seen[..., None].expand(-1, -1, tokens.shape[2]), patches)
        whole = torch.cat([tokens[:, :first], patches], 1)
        known = Context(torch.arange(whole.shape[1], device=whole.device)[None], grid=context.grid)
        whole = self.norm(through(self.layers, self.mixers(), self.positions(whole, known), known))
        return joined(self.pixels(whole[:, first:]), context.grid, self.trunk.stem.stride)

    def mixers(self) -> list[Mixer]:
        """The mixer of every layer that draws."""
        found = [layer.get_submodule("mix.inner") for layer in self.layers]
        return [mixer for mixer in found if isinstance(mixer, Mixer)]

    def initialise(self, seed: int) -> None:
        """The trunk as it says itself; what draws N(0, std²) with the trunk's std, norms 1 and 0, biases 0."""
        self.trunk.initialise(seed)
        for name, parameter in self.named_parameters():
            if name.startswith("trunk."):
                continue
            if parameter.ndim < 2:
                parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                normal(parameter, self.config.trunk.std, seed, name)
        for i, mixer in enumerate(self.mixers()):
            mixer.initialise(seed, f"layers.{i}.mix.inner")

    def compiled_parts(self) -> list[nn.Module]:
        return [*self.trunk.compiled_parts(), *self.layers]
