"""A small decoder in float64 that is sure of what it says, for losses that are compared with their formulas."""

from __future__ import annotations

import torch

from ftheta.architectures.architecture import Architecture
from ftheta.architectures.decoder import DecoderConfig


def sharp_decoder(seed: int) -> Architecture:
    """30 tokens, at most 16 in a row."""
    made = DecoderConfig.parse({"kind": "decoder", "vocab": 30, "dim": 16, "depth": 1, "context": 16, "mixer": {"kind": "attention", "heads": 2}}).build()
    made.initialise(seed)
    for parameter in made.parameters():
        parameter.data.mul_(8)
    made.compute_dtype = torch.float64
    return made.double()
