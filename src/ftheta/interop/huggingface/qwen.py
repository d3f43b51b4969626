"""Qwen2 and Qwen3 in the Hugging Face ecosystem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ftheta.architectures.decoder import DecoderConfig
from ftheta.interop.huggingface.llama_shaped import LlamaShaped, sliding, sliding_fields


class Qwen2(LlamaShaped):
    """Biases on queries, keys and values, none on the output (Yang et al. 2024, arXiv:2407.10671)."""

    name = "qwen2"
    classes = "Qwen2"
    defaults: ClassVar[Mapping[str, Any]] = {"num_key_value_heads": 32}

    def own(self, config: DecoderConfig) -> dict[str, Any]:
        return sliding_fields(config)

    def mixer(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        return {"bias": True, "output_bias": False, "window": sliding(theirs, self.name)}


class Qwen3(LlamaShaped):
    """A norm of every head's queries and keys (Yang et al. 2025, arXiv:2505.09388)."""

    name = "qwen3"
    classes = "Qwen3"
    defaults: ClassVar[Mapping[str, Any]] = {"num_key_value_heads": 32, "head_dim": 128}

    def own(self, config: DecoderConfig) -> dict[str, Any]:
        return {"attention_bias": config.mixers[0].arguments["bias"], **sliding_fields(config)}

    def mixer(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        norm = {"kind": "rmsnorm", "eps": theirs["rms_norm_eps"]}
        return {"bias": bool(theirs.get("attention_bias")), "qk_norm": norm, "window": sliding(theirs, self.name)}
