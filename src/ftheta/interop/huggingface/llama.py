"""Llama in the Hugging Face ecosystem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.decoder import DecoderConfig
from ftheta.interop.huggingface.llama_shaped import LlamaShaped


class Llama(LlamaShaped):
    """Grouped key/value heads; biases on all maps of attention or of the feedforward, or none (Touvron et al. 2023, arXiv:2307.09288)."""

    name = "llama"
    classes = "Llama"

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        theirs = super().export_config(config)
        return theirs if theirs and theirs["hidden_size"] % theirs["num_attention_heads"] == 0 else None      # their config class insists

    def own(self, config: DecoderConfig) -> dict[str, Any]:
        return {"attention_bias": config.mixers[0].arguments["bias"], "mlp_bias": config.feeding.arguments["bias"]}

    def mixer(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        return {"bias": bool(theirs.get("attention_bias"))}

    def feed(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().feed(theirs), "bias": bool(theirs.get("mlp_bias"))}
