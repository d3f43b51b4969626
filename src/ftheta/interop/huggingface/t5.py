"""T5 (Raffel et al. 2019, arXiv:1910.10683) and T5 v1.1 in the Hugging Face ecosystem: pure renames.

A table of its own for the head (v1.1) goes with logits of hidden states as they are, the shared one with states divided by sqrt(dim); their config
says both by one field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ftheta.architectures.encoder_decoder import EncoderDecoderConfig
from ftheta.interop.huggingface.activations import ACTIVATIONS, activation_of
from ftheta.interop.huggingface.encoder_decoders import EncoderDecoderFamily, width
from ftheta.interop.mapping import Line, pairs

ATTENTION = {"query": "q", "key": "k", "value": "v", "output": "o"}
BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"


class T5(EncoderDecoderFamily):
    """Relative positions, root-mean-square norm before each part, scores that are not scaled, no biases."""

    kind = "t5"
    model = "T5ForConditionalGeneration"
    copies: ClassVar[Mapping[str, str]] = {f"{name}.weight": "shared.weight" for name in ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")}
    beside = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)

    def say(self, config: EncoderDecoderConfig) -> dict[str, Any]:
        mixer, feed, positions = config.mixers[0].arguments, config.feeding, config.positions.arguments
        name, gated = ACTIVATIONS[feed.arguments["activation"]], feed.kind == "gated"
        return {
            "d_kv": mixer["head_dim"] or config.dim // mixer["heads"], "d_ff": width(feed, config.dim), "num_layers": config.trunk.depth,
            "num_decoder_layers": config.depth, "num_heads": mixer["heads"], "relative_attention_num_buckets": positions["buckets"],
            "relative_attention_max_distance": positions["distance"], "dropout_rate": config.dropout, "layer_norm_epsilon": config.norm.arguments["eps"],
            "feed_forward_proj": ("gated-" if gated else "") + ("gelu" if gated and name == "gelu_new" else name), "n_positions": config.context,
            "tie_word_embeddings": config.tie,
        }

    def read(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        gate, _, activation = theirs.get("feed_forward_proj", "relu").rpartition("-")
        if (gate, activation) == ("gated", "gelu"):
            activation = "gelu_new"                                                       # as their config reads it
        tie = theirs.get("scale_decoder_outputs", theirs.get("tie_word_embeddings", True))
        return {
            "depth": theirs.get("num_decoder_layers") or theirs["num_layers"], "encoder": {"depth": theirs["num_layers"]}, "context": theirs.get("n_positions", 512),
            "positions": {
                "kind": "relative", "buckets": theirs.get("relative_attention_num_buckets", 32), "distance": theirs.get("relative_attention_max_distance", 128),
            },
            "norm": {"kind": "rmsnorm", "eps": theirs.get("layer_norm_epsilon", 1e-6)}, "norm_place": "before",
            "mixer": {"kind": "attention", "heads": theirs["num_heads"], "head_dim": theirs["d_kv"], "scale": 1.0},
            "feedforward": {
                "kind": "gated" if gate else "mlp", "hidden": theirs["d_ff"], "activation": activation_of(activation, "feed_forward_proj", self.kind), "bias": False,
            },
            "head": {"kind": "linear", "shrink": tie}, "tie": tie, "dropout": float(theirs.get("dropout_rate", 0.1)),
        }

    def table(self, config: EncoderDecoderConfig) -> tuple[list[Line], list[Line], list[Line]]:
        single = {"embed": "shared", "norm": "decoder.final_layer_norm", "encoder.norm": "encoder.final_layer_norm", **({} if config.tie else {"head": "lm_head"})}
        biases = [Line(("positions.weight",), f"decoder.{BIAS}"), Line(("encoder.positions.weight",), f"encoder.{BIAS}")]
        feed = {"gate": "wi_0", "up": "wi_1", "down": "wo"} if config.feeding.kind == "gated" else {"up": "wi", "down": "wo"}

        def side(ours: str, theirs: str, *names: tuple[str, str, Mapping[str, str]]) -> list[Line]:
            found = {}
            for i, (part, other, inside) in enumerate(names):
                place = f"{theirs}block.{{i}}.layer.{i}"
                found[f"{ours}layers.{{i}}.{part}.before"] = f"{place}.layer_norm"
                found |= {f"{ours}layers.{{i}}.{part}.inner.{name}": f"{place}.{other}.{their}" for name, their in inside.items()}
            return pairs(found, "weight")

        mix, cross, last = ("mix", "SelfAttention", ATTENTION), ("cross", "EncDecAttention", ATTENTION), ("feed", "DenseReluDense", feed)
        return [*pairs(single, "weight"), *biases], side("encoder.", "encoder.", mix, last), side("", "decoder.", mix, cross, last)
