"""Llama in the Hugging Face ecosystem: pure renames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import FolderError
from ftheta.interop.mapping import Family, Line, numbered

NAMES = {
    "embed": "model.embed_tokens", "norm": "model.norm", "layers.{i}.mix.before": "model.layers.{i}.input_layernorm",
    "layers.{i}.feed.before": "model.layers.{i}.post_attention_layernorm", "layers.{i}.mix.inner.query": "model.layers.{i}.self_attn.q_proj",
    "layers.{i}.mix.inner.key": "model.layers.{i}.self_attn.k_proj", "layers.{i}.mix.inner.value": "model.layers.{i}.self_attn.v_proj",
    "layers.{i}.mix.inner.output": "model.layers.{i}.self_attn.o_proj", "layers.{i}.feed.inner.gate": "model.layers.{i}.mlp.gate_proj",
    "layers.{i}.feed.inner.up": "model.layers.{i}.mlp.up_proj", "layers.{i}.feed.inner.down": "model.layers.{i}.mlp.down_proj",
}


class Llama(Family):
    """Rotary positions, root-mean-square norm, gated feedforward, no biases, grouped key/value heads."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, DecoderConfig) or config.kind != "decoder":
            return None
        mixer, feed, norm = config.mixer, config.feedforward, config.norm
        heads, kv_heads = int(mixer.arguments.get("heads", 1)), mixer.arguments.get("kv_heads")
        eps = norm.arguments.get("eps", 0.0)
        plain = {"kind": "attention", "heads": heads, "kv_heads": kv_heads, "causal": True, "bias": False, "qk_norm": None}
        fits = (
            mixer.dump() == plain and norm.dump() == {"kind": "rmsnorm", "eps": eps, "weight": True} and config.positions.kind == "rotary"
            and feed.dump() == {"kind": "gated", "hidden": feed.arguments.get("hidden"), "activation": "silu", "bias": False}
            and config.plain and not config.embed_norm and not config.value_embed and config.softcap is None and not config.dropout
        )
        if not fits:
            return None
        base = config.positions.arguments["base"]
        return {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": config.vocab, "hidden_size": config.dim,
            "intermediate_size": feed.arguments["hidden"] or -(-8 * config.dim // 3 // 32) * 32, "num_hidden_layers": config.depth,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads or heads, "head_dim": config.dim // heads, "hidden_act": "silu",
            "max_position_embeddings": config.context, "rms_norm_eps": eps, "rope_theta": base, "rope_parameters": {"rope_type": "default", "rope_theta": base},
            "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": config.tie, "initializer_range": config.std, "dtype": "float32",
            "bos_token_id": None, "eos_token_id": None,
        }

    def import_config(self, theirs: Mapping[str, Any]) -> DecoderConfig:
        heads, dim = theirs["num_attention_heads"], theirs["hidden_size"]
        rope = theirs.get("rope_parameters") or {"rope_theta": theirs.get("rope_theta", 10000.0), **(theirs.get("rope_scaling") or {})}
        unsupported = [
            (theirs.get("attention_bias"), "attention_bias"), (theirs.get("mlp_bias"), "mlp_bias"), (theirs.get("hidden_act", "silu") != "silu", "hidden_act"),
            (theirs.get("head_dim") not in (None, dim // heads), "head_dim"), (rope.get("rope_type", rope.get("type", "default")) != "default", "rope_scaling"),
        ]
        for bad, field in unsupported:
            if bad:
                raise FolderError(f"config.json: {field}: {theirs.get(field, rope)} is not supported for llama")
        return DecoderConfig.parse({
            "kind": "decoder", "vocab": theirs["vocab_size"], "dim": dim, "depth": theirs["num_hidden_layers"], "context": theirs["max_position_embeddings"],
            "positions": {"kind": "rotary", "base": float(rope.get("rope_theta", 10000.0))}, "norm": {"kind": "rmsnorm", "eps": theirs.get("rms_norm_eps", 1e-6)},
            "mixer": {"kind": "attention", "heads": heads, "kv_heads": theirs.get("num_key_value_heads")},
            "feedforward": {"kind": "gated", "hidden": theirs["intermediate_size"]}, "tie": theirs.get("tie_word_embeddings", False),
        })

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        assert isinstance(config, DecoderConfig)
        lines = [Line((f"{ours}.weight",), f"{theirs}.weight") for ours, theirs in NAMES.items()]
        if not config.tie:
            lines.append(Line(("head.weight",), "lm_head.weight"))
        return numbered(lines, config.depth)
