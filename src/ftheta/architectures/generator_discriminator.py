"""Two readers of a text: a generator guesses hidden tokens, a discriminator says of every token whether it stands in place of another (ELECTRA; Clark et al.
2020, arXiv:2003.10555).

The generator is needed in training alone. What the model gives, and what other models start from, is the discriminator: a trunk with the readout `replaced`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import model_validator
from torch import Tensor, nn

from ftheta.architectures import TRUNKS
from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs, call
from ftheta.architectures.decoder import Decoder, DecoderConfig
from ftheta.architectures.headed import HeadedConfig, headless
from ftheta.blocks.activation import ActivationName
from ftheta.core.config import Slot, slot
from ftheta.core.contract import Batch, Ports
from ftheta.core.random import key


class GeneratorDiscriminatorConfig(ArchitectureConfig):
    """The discriminator's trunk, and a generator that is usually smaller."""

    kind: Literal["generator_discriminator"] = "generator_discriminator"
    trunk: Annotated[DecoderConfig, Slot(TRUNKS)] = slot("encoder", head=None)
    """The discriminator, without a head."""
    generator: Annotated[DecoderConfig, Slot(TRUNKS)] = slot("encoder", depth=4)
    """The generator, with a head; a quarter to a half of the discriminator's size is best (Clark et al. 2020)."""
    share: bool = True
    """Whether both have one embedding table, which needs equal widths (`embed_dim`, or else `dim`)."""
    activation: ActivationName = "gelu"
    """What follows the dense layer that the discriminator's answer is made from."""

    @model_validator(mode="before")
    @classmethod
    def headless(cls, data: Any) -> Any:
        """A discriminator that says nothing of a head has none."""
        return headless(data)

    @model_validator(mode="after")
    def go_together(self) -> GeneratorDiscriminatorConfig:
        trunk, generator = self.trunk, self.generator
        if trunk.head is not None:
            raise ValueError("the discriminator's own head would be of no use: leave trunk.head out")
        if generator.head is None:
            raise ValueError("the generator has no head to guess tokens with: leave generator.head at its default")
        if "causal" in generator.traits:
            raise ValueError("the generator guesses hidden tokens from both sides: choose an encoder")
        if trunk.vocab != generator.vocab:
            raise ValueError(f"trunk.vocab is {trunk.vocab:,}, generator.vocab {generator.vocab:,}: both must know the same tokens")
        if generator.context < trunk.context:
            raise ValueError(f"generator.context is {generator.context:,}, shorter than trunk.context, {trunk.context:,}: both read the same rows")
        if self.share and trunk.embed_width != generator.embed_width:
            raise ValueError(
                f"trunk.dim is {trunk.dim}, generator.dim {generator.dim}: to share an embedding table make them equal, or their embed_dim, or choose share: false"
            )
        return self

    @property
    def discriminator(self) -> HeadedConfig:
        """The discriminator as a model of its own."""
        return HeadedConfig.parse({"kind": "headed", "trunk": self.trunk.dump(), "readout": {"kind": "replaced", "activation": self.activation}, "classes": 2})

    def ports(self) -> Ports:
        ports = self.discriminator.ports()
        sizes = {letter: size for letter, size in ports.sizes.items() if letter != "K"}
        return Ports(ports.takes, ports.gives, sizes, ports.traits | {"guesses"})

    def build(self) -> GeneratorDiscriminator:
        return GeneratorDiscriminator(self)


class GeneratorDiscriminator(Architecture):
    """tokens (B, T), padding being document -1 → the discriminator's hidden (B, T, D) and log-odds replaced (B, T).

    Training also asks the generator to `guess`.
    """

    def __init__(self, config: GeneratorDiscriminatorConfig):
        super().__init__()
        self.config: GeneratorDiscriminatorConfig = config
        self.discriminator = config.discriminator.build()
        self.generator = config.generator.build(self.trunk.embed if config.share else None)

    @property
    def trunk(self) -> Decoder:
        """The discriminator's."""
        return self.discriminator.trunk

    def forward(self, tokens: Tensor, documents: Tensor | None = None, segments: Tensor | None = None) -> Outputs:
        self.discriminator.compute_dtype = self.compute_dtype                            # set on the whole by whoever runs it
        return self.discriminator(tokens, documents, segments)

    def guess(self, batch: Batch) -> Outputs:
        """What the generator gives for the tensors of a batch that it takes: hidden (B, T, D), logits (B, T, V)."""
        self.generator.compute_dtype = self.compute_dtype
        return call(self.generator, batch)

    def initialise(self, seed: int) -> None:
        """Each as it says, from seeds of their own; a shared table as the discriminator says."""
        self.generator.initialise(key(seed, "generator"))
        self.discriminator.initialise(seed)

    def compiled_parts(self) -> list[nn.Module]:
        return [*self.discriminator.compiled_parts(), *self.generator.compiled_parts()]
