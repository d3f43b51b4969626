"""Mistral in the Hugging Face ecosystem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ftheta.architectures.decoder import DecoderConfig
from ftheta.interop.huggingface.llama_shaped import LlamaShaped


class Mistral(LlamaShaped):
    """A sliding window, no biases (Jiang et al. 2023, arXiv:2310.06825)."""

    name = "mistral"
    classes = "Mistral"
    defaults: ClassVar[Mapping[str, Any]] = {"num_key_value_heads": 8, "sliding_window": 4096}

    def own(self, config: DecoderConfig) -> dict[str, Any]:
        return {"sliding_window": config.mixers[0].arguments["window"]}

    def mixer(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        return {"window": theirs["sliding_window"]}
