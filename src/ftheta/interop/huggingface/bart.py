"""BART (Lewis et al. 2019, arXiv:1910.13461) and MarianMT (Junczys-Dowmunt et al. 2018, arXiv:1804.00344) in the Hugging Face ecosystem: pure renames,
but for the bias of the logits, which is stored as a matrix of one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ftheta.architectures.encoder_decoder import EncoderDecoderConfig
from ftheta.interop.huggingface.activations import ACTIVATIONS, activation_of
from ftheta.interop.huggingface.encoder_decoders import EncoderDecoderFamily, width
from ftheta.interop.mapping import Line, pairs

ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
FEED = {"up": "fc1", "down": "fc2"}
EPS = 1e-5
"""Every norm's; their config has no field for it."""
COPIES = ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")


class BART(EncoderDecoderFamily):
    """Learned positions after two unused rows, embeddings normalised, norms after the parts, biases."""

    kind = "bart"
    model = "BartForConditionalGeneration"
    unsupported: ClassVar[Mapping[str, Any]] = {"tie_word_embeddings": True, "add_final_layer_norm": False, "normalize_before": False, "static_position_embeddings": False}
    copies: ClassVar[Mapping[str, str]] = dict.fromkeys(COPIES, "model.shared.weight")
    positions: ClassVar[Mapping[str, Any]] = {"kind": "learned", "offset": 2}
    embed_norm: ClassVar[bool] = True

    def say(self, config: EncoderDecoderConfig) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, side in (("encoder", config.trunk), ("decoder", config)):
            fields |= {
                f"{name}_layers": side.depth, f"{name}_attention_heads": side.mixers[0].arguments["heads"], f"{name}_ffn_dim": width(side.feeding, side.dim),
                f"{name}_layerdrop": 0.0,
            }
        return {
            **fields, "activation_function": ACTIVATIONS[config.feeding.arguments["activation"]], "max_position_embeddings": config.context,
            "scale_embedding": config.scale_embed, "dropout": config.dropout, "attention_dropout": 0.0, "activation_dropout": 0.0, "init_std": config.std,
            "tie_word_embeddings": config.tie, "forced_eos_token_id": None,
        }

    def read(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        activation = activation_of(theirs.get("activation_function", "gelu"), "activation_function", self.kind)

        def side(name: str) -> dict[str, Any]:
            return {
                "depth": theirs[f"{name}_layers"], "mixer": {"kind": "attention", "heads": theirs[f"{name}_attention_heads"], "bias": True, "causal": name == "decoder"},
                "feedforward": {"kind": "mlp", "hidden": theirs[f"{name}_ffn_dim"], "activation": activation, "bias": True},
            }

        return {
            **side("decoder"), "encoder": side("encoder"), "context": theirs.get("max_position_embeddings", 1024), "positions": dict(self.positions),
            "norm": {"kind": "layernorm", "eps": EPS}, "norm_place": "after", "embed_norm": self.embed_norm, "scale_embed": theirs.get("scale_embedding", False),
            "head": {"kind": "linear", "bias": True}, "tie": True, "dropout": float(theirs.get("dropout", 0.1)), "std": theirs.get("init_std", 0.02),
        }

    def table(self, config: EncoderDecoderConfig) -> tuple[list[Line], list[Line], list[Line]]:
        single = [Line(("embed.weight",), "model.shared.weight"), Line(("head.bias",), "final_logits_bias", row=True)]
        sides: list[list[Line]] = []
        for ours, theirs in (("encoder.", "model.encoder."), ("", "model.decoder.")):
            if self.positions["kind"] == "learned":
                single.append(Line((f"{ours}positions.weight",), f"{theirs}embed_positions.weight"))
            if self.embed_norm:
                single += pairs({f"{ours}embed_norm": f"{theirs}layernorm_embedding"}, "weight", "bias")
            here, there = f"{ours}layers.{{i}}", f"{theirs}layers.{{i}}"
            names = {f"{here}.feed.inner.{name}": f"{there}.{other}" for name, other in FEED.items()} | {f"{here}.feed.after": f"{there}.final_layer_norm"}
            for part, other in (("mix", "self_attn"), *([] if ours else [("cross", "encoder_attn")])):
                names |= {f"{here}.{part}.inner.{name}": f"{there}.{other}.{their}" for name, their in ATTENTION.items()}
                names[f"{here}.{part}.after"] = f"{there}.{other}_layer_norm"
            sides.append(pairs(names, "weight", "bias"))
        return single, sides[0], sides[1]

    def tidied(self, values: Mapping[str, Tensor], lines: Sequence[Line]) -> dict[str, Tensor]:
        """Files without a bias of the logits mean zeros."""
        found = super().tidied(values, lines)
        if "model.shared.weight" in found:
            found.setdefault("final_logits_bias", torch.zeros(1, len(found["model.shared.weight"])))
        return found


class Marian(BART):
    """As BART, with positions that are computed and embeddings as they are."""

    kind = "marian"
    model = "MarianMTModel"
    unsupported: ClassVar[Mapping[str, Any]] = {**BART.unsupported, "share_encoder_decoder_embeddings": True, "normalize_embedding": False}
    beside = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")
    positions: ClassVar[Mapping[str, Any]] = {"kind": "sinusoidal"}
    embed_norm = False
