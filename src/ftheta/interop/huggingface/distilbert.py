"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108) in the Hugging Face ecosystem: pure renames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ftheta.architectures.encoder import EncoderConfig
from ftheta.interop.huggingface.activations import activation_of
from ftheta.interop.huggingface.encoders import EncoderFamily

EPS = 1e-12
"""Every norm's; their config has no field for it."""


class DistilBERT(EncoderFamily):
    """BERT without segments and pooler; a ReLU layer before its classes."""

    kind = "distilbert"
    classes = "DistilBert"
    tables: ClassVar[Mapping[str, str]] = {"embed.weight": "embeddings.word_embeddings.weight", "positions.weight": "embeddings.position_embeddings.weight"}
    maps: ClassVar[Mapping[str, str]] = {
        "embed_norm": "embeddings.LayerNorm", "layers.{i}.mix.inner.query": "transformer.layer.{i}.attention.q_lin",
        "layers.{i}.mix.inner.key": "transformer.layer.{i}.attention.k_lin", "layers.{i}.mix.inner.value": "transformer.layer.{i}.attention.v_lin",
        "layers.{i}.mix.inner.output": "transformer.layer.{i}.attention.out_lin", "layers.{i}.mix.after": "transformer.layer.{i}.sa_layer_norm",
        "layers.{i}.feed.inner.up": "transformer.layer.{i}.ffn.lin1", "layers.{i}.feed.inner.down": "transformer.layer.{i}.ffn.lin2",
        "layers.{i}.feed.after": "transformer.layer.{i}.output_layer_norm",
    }
    masked: ClassVar[Mapping[str, str]] = {"head.dense": "vocab_transform", "head.norm": "vocab_layer_norm"}
    masked_bias = "vocab_projector.bias"
    readouts: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "classify": {"readout.dense": "pre_classifier", "readout.output": "classifier"}, "regress": {"readout.dense": "pre_classifier", "readout.output": "classifier"},
        "choose": {"readout.dense": "pre_classifier", "readout.output": "classifier"},
        "tag": {"readout.output": "classifier"}, "span": {"readout.output": "qa_outputs"}, "embed": {},
    }
    beside = ("vocab_projector.weight",)

    def trunk_fields(self, trunk: EncoderConfig, inner: Mapping[str, Any]) -> dict[str, Any] | None:
        if trunk.segments or inner["offset"]:
            return None
        return {
            "dim": trunk.dim, "n_layers": trunk.depth, "n_heads": inner["heads"], "hidden_dim": inner["hidden"], "activation": inner["activation"],
            "dropout": trunk.dropout, "attention_dropout": 0.0, "max_position_embeddings": trunk.context, "sinusoidal_pos_embds": False,
        }

    def read_trunk(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "dim": theirs.get("dim", 768), "depth": theirs.get("n_layers", 6), "heads": theirs.get("n_heads", 12), "hidden": theirs.get("hidden_dim", 3072),
            "activation": activation_of(theirs.get("activation", "gelu"), "activation", "distilbert"), "eps": EPS, "dropout": theirs.get("dropout", 0.1),
            "context": theirs.get("max_position_embeddings", 512), "positions": {"kind": "learned"},
        }

    def head_fields(self, readout: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if readout in ("classify", "regress", "choose"):
            return {"seq_classif_dropout": arguments["dropout"]}
        return {"qa_dropout": arguments["dropout"]} if readout == "span" else {}

    def read_head(self, suffix: str, theirs: Mapping[str, Any]) -> dict[str, Any]:
        if suffix in ("ForSequenceClassification", "ForMultipleChoice"):
            kind = "choose" if suffix == "ForMultipleChoice" else "classify"
            return {"kind": kind, "pooling": "first", "dense": "relu", "dropout": theirs.get("seq_classif_dropout", 0.2)}
        if suffix == "ForTokenClassification":
            return {"kind": "tag", "dropout": theirs.get("dropout", 0.1)}
        return {"kind": "span", "dropout": theirs.get("qa_dropout", 0.1)} if suffix == "ForQuestionAnswering" else {"kind": "embed", "pooler": False}
