"""Mixtures of experts in the Hugging Face ecosystem: Mixtral and Qwen3-MoE. In files every expert's matrices stand by themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.config import Part
from ftheta.core.errors import FolderError
from ftheta.interop.huggingface.llama_shaped import LAYER, LlamaShaped


class ExpertFamily(LlamaShaped):
    """Every layer a mixture of experts."""

    feedforward = "moe"
    place: ClassVar[str]
    """Where a layer's router and experts are."""
    matrices: ClassVar[Mapping[str, str]]
    """Our matrices of an expert → theirs."""

    @abstractmethod
    def routing(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of our mixture that only this family says."""

    def feed(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        experts = theirs["num_local_experts"] if "num_local_experts" in theirs else theirs["num_experts"]
        balance = float(theirs.get("router_aux_loss_coef", 0.001))
        return {"experts": experts, "active": theirs["num_experts_per_tok"], "balance": balance, "z_loss": 0.0, **self.routing(theirs)}

    def own(self, config: DecoderConfig) -> dict[str, Any]:
        feed = config.feeding.arguments
        return {"num_experts_per_tok": feed["active"], "router_aux_loss_coef": feed["balance"], "output_router_logits": False}

    def feed_names(self, feed: Part) -> dict[str, str]:
        inner, place = "layers.{i}.feed.inner", f"{LAYER}.{self.place}"
        names = {f"{inner}.router": f"{place}.gate"}
        for expert in range(feed.arguments["experts"]):
            names |= {f"{inner}.experts.{expert}.{ours}": f"{place}.experts.{expert}.{theirs}" for ours, theirs in self.matrices.items()}
        return names


class Mixtral(ExpertFamily):
    """Mistral with experts whose weights sum to 1 (Jiang et al. 2024, arXiv:2401.04088)."""

    name = "mixtral"
    classes = "Mixtral"
    defaults: ClassVar[Mapping[str, Any]] = {"num_key_value_heads": 8, "rms_norm_eps": 1e-5, "default_theta": 1e6, "num_experts_per_tok": 2}
    place = "block_sparse_moe"
    matrices: ClassVar[Mapping[str, str]] = {"gate": "w1", "up": "w3", "down": "w2"}

    def own(self, config: DecoderConfig) -> dict[str, Any]:
        experts = config.feeding.arguments["experts"]
        return {**super().own(config), "num_local_experts": experts, "sliding_window": config.mixers[0].arguments["window"], "router_jitter_noise": 0.0}

    def mixer(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        return {"window": theirs.get("sliding_window")}

    def routing(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        if theirs.get("router_jitter_noise"):
            raise FolderError(f"config.json: router_jitter_noise: {theirs['router_jitter_noise']} is not supported for {self.name} (supported: 0)")
        return {"hidden": theirs["intermediate_size"], "normalise": True}


class Qwen3MoE(ExpertFamily):
    """Qwen3 with experts in every layer (Yang et al. 2025, arXiv:2505.09388)."""

    name = "qwen3_moe"
    classes = "Qwen3Moe"
    defaults: ClassVar[Mapping[str, Any]] = {"num_key_value_heads": 4, "num_experts_per_tok": 8}
    place = "mlp"
    matrices: ClassVar[Mapping[str, str]] = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}

    def own(self, config: DecoderConfig) -> dict[str, Any]:
        feed, mixer = config.feeding.arguments, config.mixers[0].arguments
        return {
            **super().own(config), "num_experts": feed["experts"], "moe_intermediate_size": feed["hidden"], "norm_topk_prob": feed["normalise"],
            "decoder_sparse_step": 1, "mlp_only_layers": [], "attention_bias": mixer["bias"], "use_sliding_window": mixer["window"] is not None,
            "sliding_window": mixer["window"],
        }

    def mixer(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        window = theirs.get("sliding_window", 4096) if theirs.get("use_sliding_window") else None
        return {"bias": bool(theirs.get("attention_bias")), "qk_norm": {"kind": "rmsnorm", "eps": theirs["rms_norm_eps"]}, "window": window}

    def routing(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        for field, supported in (("decoder_sparse_step", 1), ("mlp_only_layers", [])):
            if (theirs.get(field) or supported) != supported:
                raise FolderError(f"config.json: {field}: {theirs[field]} is not supported for {self.name} (supported: {supported}): every layer has experts")
        return {"hidden": theirs.get("moe_intermediate_size", 768), "normalise": bool(theirs.get("norm_topk_prob"))}
