"""Bidirectional sequence model: every token sees its whole document. The trunk is the decoder's, with a mixer that looks both ways."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import model_validator

from ftheta.architectures.decoder import Decoder, DecoderConfig
from ftheta.blocks import MIXERS
from ftheta.core.config import Part, Slot, slot
from ftheta.core.contract import Ports


class EncoderConfig(DecoderConfig):
    """Sizes and parts of an encoder."""

    kind: Literal["encoder"] = "encoder"                                                  # type: ignore[assignment]
    mixer: Annotated[Part, Slot(MIXERS)] = slot("attention", heads=12, causal=False)
    """How tokens exchange information; it must look both ways."""

    @model_validator(mode="after")
    def both_ways(self) -> EncoderConfig:
        if "causal" in self.mixer.traits:
            raise ValueError("an encoder looks both ways: choose a mixer with causal: false, or architecture 'decoder'")
        return self

    def ports(self) -> Ports:
        ports = super().ports()
        return Ports(ports.takes, ports.gives, ports.sizes, ports.traits | {"bidirectional"})

    def build(self) -> Decoder:
        return Decoder(self)
