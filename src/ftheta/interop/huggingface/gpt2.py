"""GPT-2 in the Hugging Face ecosystem: fused query/key/value, matrices stored transposed (Conv1D)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.decoder import DecoderConfig
from ftheta.blocks import MIXERS
from ftheta.core.config import Slot
from ftheta.core.errors import FolderError
from ftheta.interop.huggingface.activations import ACTIVATIONS, activation_of
from ftheta.interop.mapping import Family, Line, numbered

NAMES = {
    "layers.{i}.mix.before": "transformer.h.{i}.ln_1", "layers.{i}.feed.before": "transformer.h.{i}.ln_2", "norm": "transformer.ln_f",
    "layers.{i}.mix.inner.output": "transformer.h.{i}.attn.c_proj", "layers.{i}.feed.inner.up": "transformer.h.{i}.mlp.c_fc",
    "layers.{i}.feed.inner.down": "transformer.h.{i}.mlp.c_proj",
}


class GPT2(Family):
    """Learned positions, layer norm before each part, biases, tied head."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, DecoderConfig) or config.kind != "decoder" or config.feedforward is None or len(set(config.mixers)) > 1:
            return None
        mixer, feed, norm = config.mixers[0], config.feedforward, config.norm
        eps = norm.arguments.get("eps", 0.0)
        plain = Slot(MIXERS).parse({"kind": "attention", "heads": mixer.arguments.get("heads", 1), "bias": True})
        fits = (
            mixer == plain and norm.dump() == {"kind": "layernorm", "eps": eps, "weight": True, "bias": True}
            and config.positions.dump() == {"kind": "learned", "offset": 0} and config.tie
            and feed.kind == "mlp" and feed.arguments["bias"] and feed.arguments["activation"] in ACTIVATIONS
            and config.plain and not config.embed_norm and not config.value_embed and config.softcap is None
        )
        if not fits:
            return None
        return {
            "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": config.vocab, "n_positions": config.context, "n_embd": config.dim,
            "n_layer": config.depth, "n_head": mixer.arguments["heads"], "n_inner": feed.arguments["hidden"],
            "activation_function": ACTIVATIONS[feed.arguments["activation"]], "layer_norm_epsilon": eps, "resid_pdrop": config.dropout,
            "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": config.std, "tie_word_embeddings": True, "dtype": "float32",
            "bos_token_id": None, "eos_token_id": None,
        }

    def import_config(self, theirs: Mapping[str, Any]) -> DecoderConfig:
        for field, supported in (("scale_attn_by_inverse_layer_idx", False), ("scale_attn_weights", True), ("add_cross_attention", False), ("tie_word_embeddings", True)):
            if theirs.get(field, supported) != supported:
                raise FolderError(f"config.json: {field}: {theirs[field]} is not supported for gpt2")
        activation = activation_of(theirs.get("activation_function", "gelu_new"), "activation_function", "gpt2")
        return DecoderConfig.parse({
            "kind": "decoder", "vocab": theirs["vocab_size"], "dim": theirs["n_embd"], "depth": theirs["n_layer"], "context": theirs["n_positions"],
            "positions": "learned", "norm": {"kind": "layernorm", "eps": theirs.get("layer_norm_epsilon", 1e-5)},
            "mixer": {"kind": "attention", "heads": theirs["n_head"], "bias": True},
            "feedforward": {"kind": "mlp", "hidden": theirs.get("n_inner"), "activation": activation, "bias": True}, "tie": True,
        })

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        assert isinstance(config, DecoderConfig)
        lines = [Line(("embed.weight",), "transformer.wte.weight"), Line(("positions.weight",), "transformer.wpe.weight")]
        for part in ("weight", "bias"):
            qkv = tuple(f"layers.{{i}}.mix.inner.{name}.{part}" for name in ("query", "key", "value"))
            lines.append(Line(qkv, f"transformer.h.{{i}}.attn.c_attn.{part}", transpose=True))
            lines += [Line((f"{ours}.{part}",), f"{theirs}.{part}", transpose=".c_" in theirs) for ours, theirs in NAMES.items()]
        return numbered(lines, config.depth)
