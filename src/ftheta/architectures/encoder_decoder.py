"""Encoder-decoder: p(x_t | x_<t, source) (Sutskever et al. 2014, arXiv:1409.3215; Vaswani et al. 2017, arXiv:1706.03762). T5, BART and MarianMT are presets
of this file.

The decoder's layers look across to what an encoder makes of the source, between mixer and feedforward. Both sides share the embedding table,
positions and norms of a kind; what differs between them is said under `encoder`. When generating, the source is encoded once.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from ftheta.architectures import TRUNKS
from ftheta.architectures.architecture import Outputs
from ftheta.architectures.decoder import Decoder, DecoderConfig, Layer
from ftheta.blocks import CROSS_MIXERS, FEEDFORWARDS, MIXERS
from ftheta.blocks.context import Cache, Context, Source
from ftheta.core.config import Config, Cycle, Part, Slot
from ftheta.core.contract import Ports


class EncoderSide(Config):
    """How the encoder differs from the decoder."""

    depth: int | None = Field(default=None, gt=0)
    """Number of layers; none: as many as the decoder has."""
    mixer: Annotated[Part | tuple[Part, ...], Cycle(MIXERS)] | None = None
    """How tokens of the source exchange information; none: as in the decoder, but looking both ways where that can be chosen."""
    feedforward: Annotated[Part, Slot(FEEDFORWARDS)] | None = None
    """What is computed at each token of the source; none: as in the decoder."""


class EncoderDecoderConfig(DecoderConfig):
    """Sizes and parts of an encoder-decoder; those of the decoder, where the encoder has its own."""

    kind: Literal["encoder_decoder"] = "encoder_decoder"                                  # type: ignore[assignment]
    encoder: EncoderSide = EncoderSide()
    """The encoder, where it is not as the decoder."""
    cross: Annotated[Part, Slot(CROSS_MIXERS)] | None = None
    """How tokens look across to the source; none: with the heads of the decoder's mixer."""

    @property
    def trunk(self) -> DecoderConfig:
        """The encoder as a model of its own, without a head: what reads."""
        own, data = self.encoder, {name: value for name, value in self.dump().items() if name in DecoderConfig.model_fields}
        mixer, feedforward = own.mixer and own.dump()["mixer"], own.feedforward or self.feedforward
        data |= {"kind": "decoder", "depth": own.depth or self.depth, "head": None, "feedforward": feedforward and feedforward.dump()}
        found = DecoderConfig.parse({**data, "mixer": mixer or [both_ways(part.dump()) for part in self.mixers]})
        return found if "causal" in found.traits else Slot(TRUNKS).parse({**found.dump(), "kind": "encoder"})    # type: ignore[return-value]

    @property
    def crossing(self) -> Part:
        """How tokens look across, filled in."""
        if self.cross is not None:
            return self.cross
        known = inspect.signature(CROSS_MIXERS.load("attention")).parameters
        like = next((part for part in self.mixers if "heads" in part.arguments), self.mixers[0])
        return Slot(CROSS_MIXERS).parse({**{name: value for name, value in like.dump().items() if name in known}, "kind": "attention"})    # type: ignore[return-value]

    def ports(self) -> Ports:
        ports, encoding = super().ports(), self.trunk.ports()
        takes = {**ports.takes, **encoding.takes}
        takes.pop("prefix?", None)                                                        # what is seen both ways is the source
        takes |= {"source": "ids B S", "source_documents?": "ids B S"}
        regroups = encoding.traits & {"regroups"}
        return Ports(takes, {**encoding.gives, **ports.gives}, {**ports.sizes, "S": self.context}, ports.traits - {"prefix"} | regroups)

    def build(self, embed: nn.Embedding | None = None) -> EncoderDecoder:
        return EncoderDecoder(self, embed)


def both_ways(mixer: dict[str, Any]) -> dict[str, Any]:
    """The mixer looking both ways, where it can."""
    choices = {"causal": False, "bidirectional": True}
    return {**mixer, **{name: value for name, value in choices.items() if name in mixer}}


class EncoderDecoder(Decoder):
    """source (B, S), tokens (B, T) → hidden (B, T, D), logits (B, T, V).

    A token sees the source of its own document: `source_documents` (B, S), padding being -1; without them the source is that of the whole row.
    """

    config: EncoderDecoderConfig

    def __init__(self, config: EncoderDecoderConfig, embed: nn.Embedding | None = None):
        super().__init__(config, embed)
        self.encoder = config.trunk.build(self.embed)

    @property
    def trunk(self) -> Decoder:
        """What reads."""
        return self.encoder

    def layer(self, mixer: Part) -> nn.Module:
        return Layer(mix=self.residual(mixer), cross=self.residual(self.config.crossing), feed=self.feed())

    def forward(
        self, tokens: Tensor, documents: Tensor | None = None, cache: Cache | None = None, counted: Tensor | None = None,
        source: Tensor | None = None, source_documents: Tensor | None = None,
    ) -> Outputs:
        context = Context(self.position_of(tokens, documents, cache), documents, cache, counted=counted)
        if cache is None or cache.source is None:
            if source is None:
                raise ValueError("source: an encoder-decoder needs a source, unless the cache remembers one")
            context.source = self.encode(source, source_documents, context)
        if cache is not None:
            cache.source = context.source = context.source or cache.source
        return self.outputs(tokens, context)

    def encode(self, source: Tensor, documents: Tensor | None, context: Context) -> Source:
        """What the decoder looks at; what parts of the encoder add to the loss goes to the context."""
        self.encoder.compute_dtype = self.compute_dtype                                  # set on the whole by whoever runs it
        found = self.encoder(tokens=source, documents=documents)
        if "auxiliary" in found:
            context.auxiliary.append(found["auxiliary"])
        return Source(found["hidden"], documents)

    def compiled_parts(self) -> list[nn.Module]:
        return [*self.encoder.compiled_parts(), *super().compiled_parts()]
