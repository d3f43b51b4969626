"""Bidirectional sequence model: every token sees its whole document (BERT; Devlin et al. 2018, arXiv:1810.04805).

The trunk is the decoder's, with a mixer that looks both ways and, where there are several texts in a document, a vector for each
token's segment.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ftheta.architectures.architecture import Outputs
from ftheta.architectures.decoder import Decoder, DecoderConfig
from ftheta.blocks import MIXERS
from ftheta.blocks.context import Cache
from ftheta.core.config import Cycle, Part, slot
from ftheta.core.contract import Ports


class EncoderConfig(DecoderConfig):
    """Sizes and parts of an encoder."""

    kind: Literal["encoder"] = "encoder"                                                  # type: ignore[assignment]
    mixer: Annotated[Part | tuple[Part, ...], Cycle(MIXERS)] = slot("attention", heads=12, causal=False)
    """How tokens exchange information, a list for layers that differ; one at least must look both ways."""
    segments: int = Field(default=0, ge=0)
    """How many sorts of segment a token may belong to, such as a first and a second text; none: segments are not told apart."""

    @model_validator(mode="after")
    def both_ways(self) -> EncoderConfig:
        if "causal" in self.traits:
            raise ValueError("an encoder looks both ways: choose a mixer with causal: false or bidirectional: true, or architecture 'decoder'")
        return self

    def ports(self) -> Ports:
        ports = super().ports()
        takes = {**ports.takes, "segments?": "ids B T"} if self.segments else ports.takes
        return Ports(takes, ports.gives, ports.sizes, ports.traits | {"bidirectional"})

    def build(self, embed: nn.Embedding | None = None) -> Encoder:
        return Encoder(self, embed)


class Encoder(Decoder):
    """tokens (B, T), and segments (B, T) or all 0 → hidden (B, T, D), logits (B, T, V)."""

    def __init__(self, config: EncoderConfig, embed: nn.Embedding | None = None):
        super().__init__(config, embed)
        self.segment_embed = nn.Embedding(config.segments, config.embed_width) if config.segments else None

    def forward(
        self, tokens: Tensor, documents: Tensor | None = None, cache: Cache | None = None, counted: Tensor | None = None, segments: Tensor | None = None,
    ) -> Outputs:
        return self.read(tokens, documents, cache, counted, segments)

    def added(self, tokens: Tensor, segments: Tensor | None) -> Tensor | None:
        if self.segment_embed is None:
            return None
        return self.segment_embed(torch.zeros_like(tokens) if segments is None else segments)
