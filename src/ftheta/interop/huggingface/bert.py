"""BERT (Devlin et al. 2018, arXiv:1810.04805) and RoBERTa (Liu et al. 2019, arXiv:1907.11692) in the Hugging Face ecosystem: pure renames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ftheta.architectures.encoder import EncoderConfig
from ftheta.interop.huggingface.activations import activation_of
from ftheta.interop.huggingface.encoders import EncoderFamily


class BERT(EncoderFamily):
    """Segments, a pooler, a masked-language-model head with a dense layer."""

    kind = "bert"
    classes = "Bert"
    tables: ClassVar[Mapping[str, str]] = {
        "embed.weight": "embeddings.word_embeddings.weight", "positions.weight": "embeddings.position_embeddings.weight",
        "segment_embed.weight": "embeddings.token_type_embeddings.weight",
    }
    maps: ClassVar[Mapping[str, str]] = {
        "embed_norm": "embeddings.LayerNorm", "layers.{i}.mix.inner.query": "encoder.layer.{i}.attention.self.query",
        "layers.{i}.mix.inner.key": "encoder.layer.{i}.attention.self.key", "layers.{i}.mix.inner.value": "encoder.layer.{i}.attention.self.value",
        "layers.{i}.mix.inner.output": "encoder.layer.{i}.attention.output.dense", "layers.{i}.mix.after": "encoder.layer.{i}.attention.output.LayerNorm",
        "layers.{i}.feed.inner.up": "encoder.layer.{i}.intermediate.dense", "layers.{i}.feed.inner.down": "encoder.layer.{i}.output.dense",
        "layers.{i}.feed.after": "encoder.layer.{i}.output.LayerNorm",
    }
    masked: ClassVar[Mapping[str, str]] = {"head.dense": "cls.predictions.transform.dense", "head.norm": "cls.predictions.transform.LayerNorm"}
    masked_bias = "cls.predictions.bias"
    readouts: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "classify": {"readout.dense": "bert.pooler.dense", "readout.output": "classifier"},
        "regress": {"readout.dense": "bert.pooler.dense", "readout.output": "classifier"},
        "choose": {"readout.dense": "bert.pooler.dense", "readout.output": "classifier"},
        "tag": {"readout.output": "classifier"}, "span": {"readout.output": "qa_outputs"}, "embed": {"readout.dense": "pooler.dense"},
        "follows": {"readout.dense": "bert.pooler.dense", "readout.output": "cls.seq_relationship"},
    }
    beside = ("cls.predictions.decoder.", "cls.seq_relationship.")
    offset = 0

    def trunk_fields(self, trunk: EncoderConfig, inner: Mapping[str, Any]) -> dict[str, Any] | None:
        if not trunk.segments or bool(inner["offset"]) != bool(self.offset):
            return None
        fields = {
            "hidden_size": trunk.dim, "num_hidden_layers": trunk.depth, "num_attention_heads": inner["heads"], "intermediate_size": inner["hidden"],
            "hidden_act": inner["activation"], "hidden_dropout_prob": trunk.dropout, "attention_probs_dropout_prob": 0.0,
            "max_position_embeddings": trunk.context + inner["offset"], "type_vocab_size": trunk.segments, "layer_norm_eps": inner["eps"],
        }
        return {**fields, "pad_token_id": inner["offset"] - 1} if inner["offset"] else fields

    def read_trunk(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        offset = self.first(theirs)
        return {
            "dim": theirs.get("hidden_size", 768), "depth": theirs.get("num_hidden_layers", 12), "heads": theirs.get("num_attention_heads", 12),
            "hidden": theirs.get("intermediate_size", 3072), "eps": theirs.get("layer_norm_eps", 1e-12),
            "activation": activation_of(theirs.get("hidden_act", "gelu"), "hidden_act", self.kind),
            "dropout": theirs.get("hidden_dropout_prob", 0.1), "context": theirs.get("max_position_embeddings", 512) - offset,
            "positions": {"kind": "learned", "offset": offset}, "segments": theirs.get("type_vocab_size", 2),
        }

    def first(self, theirs: Mapping[str, Any]) -> int:
        """The position of the first token."""
        return 0

    def head_fields(self, readout: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"classifier_dropout": arguments["dropout"]} if "dropout" in arguments and readout not in ("span", "follows") else {}

    def read_head(self, suffix: str, theirs: Mapping[str, Any]) -> dict[str, Any]:
        dropout = theirs.get("classifier_dropout")
        dropout = theirs.get("hidden_dropout_prob", 0.1) if dropout is None else dropout
        if suffix in ("ForSequenceClassification", "ForMultipleChoice"):
            return {"kind": "choose" if suffix == "ForMultipleChoice" else "classify", "pooling": "first", "dense": "tanh", "dropout": dropout}
        if suffix == "ForTokenClassification":
            return {"kind": "tag", "dropout": dropout}
        if suffix in ("ForNextSentencePrediction", "ForPreTraining"):
            return {"kind": "follows", "pooling": "first", "dense": "tanh", "dropout": 0.0}
        return {"kind": "span"} if suffix == "ForQuestionAnswering" else {"kind": "embed", "pooler": True}


class RoBERTa(BERT):
    """As BERT, positions counted from after the padding's id, and other names of the heads."""

    kind = "roberta"
    classes = "Roberta"
    masked: ClassVar[Mapping[str, str]] = {"head.dense": "lm_head.dense", "head.norm": "lm_head.layer_norm"}
    masked_bias = "lm_head.bias"
    readouts: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "classify": {"readout.dense": "classifier.dense", "readout.output": "classifier.out_proj"},
        "regress": {"readout.dense": "classifier.dense", "readout.output": "classifier.out_proj"},
        "choose": {"readout.dense": "roberta.pooler.dense", "readout.output": "classifier"},
        "tag": {"readout.output": "classifier"}, "span": {"readout.output": "qa_outputs"}, "embed": {"readout.dense": "pooler.dense"},
    }
    beside = ("lm_head.decoder.",)
    offset = 2

    def first(self, theirs: Mapping[str, Any]) -> int:
        padding = theirs.get("pad_token_id", 1)
        return (1 if padding is None else int(padding)) + 1

    def masked_fields(self, activation: str, eps: float) -> dict[str, Any]:
        return super().masked_fields("gelu", eps)
