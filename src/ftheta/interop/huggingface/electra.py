"""ELECTRA (Clark et al. 2020, arXiv:2003.10555) in the Hugging Face ecosystem: pure renames.

`…ForPreTraining` is the discriminator, a `headed` encoder with the readout `replaced`; `…ForMaskedLM` is the generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.core.errors import FolderError
from ftheta.interop.fields import Fields
from ftheta.interop.huggingface.activations import activation_of
from ftheta.interop.huggingface.bert import BERT

SUMMARY = {"summary_type": "first", "summary_use_proj": True, "summary_activation": "gelu"}
"""What stands for a text among which one is chosen, as far as it can be said here."""
DENSE = {"readout.dense": "classifier.dense", "readout.output": "classifier.out_proj"}


class ELECTRA(BERT):
    """As BERT without its pooler; the embedding table may be narrower than hidden states. What BERT can say too is written as BERT."""

    kind = "electra"
    classes = "Electra"
    maps: ClassVar[Mapping[str, str]] = {**BERT.maps, "embed_dense": "embeddings_project"}
    masked: ClassVar[Mapping[str, str]] = {"head.dense": "generator_predictions.dense", "head.norm": "generator_predictions.LayerNorm"}
    masked_bias = "generator_lm_head.bias"
    readouts: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "classify": DENSE, "regress": DENSE, "choose": {"readout.dense": "sequence_summary.summary", "readout.output": "classifier"},
        "tag": {"readout.output": "classifier"}, "span": {"readout.output": "qa_outputs"}, "embed": {},
        "replaced": {"readout.dense": "discriminator_predictions.dense", "readout.output": "discriminator_predictions.dense_prediction"},
    }
    beside = ("generator_lm_head.weight", "generator_predictions.", "discriminator_predictions.")

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        return super().export_config(config) if BERT().export_config(config) is None else None

    def trunk_fields(self, trunk: EncoderConfig, inner: Mapping[str, Any]) -> dict[str, Any] | None:
        fields = super().trunk_fields(trunk, inner)
        return fields and {**fields, "embedding_size": trunk.embed_width}

    def read_trunk(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        sizes = Fields(theirs, {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024})
        width = theirs.get("embedding_size", 128)
        return {**super().read_trunk(sizes), "embed_dim": None if width == sizes["hidden_size"] else width}

    def head_fields(self, readout: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if readout == "choose":
            return {**SUMMARY, "summary_last_dropout": arguments["dropout"]}
        return super().head_fields(readout, arguments)

    def read_head(self, suffix: str, theirs: Mapping[str, Any]) -> dict[str, Any]:
        if suffix == "ForPreTraining":
            return {"kind": "replaced", "activation": activation_of(theirs.get("hidden_act", "gelu"), "hidden_act", "electra")}
        if suffix == "Model":
            return {"kind": "embed", "pooler": False}
        readout = super().read_head(suffix, theirs)
        if suffix == "ForMultipleChoice":
            for field, supported in SUMMARY.items():
                if theirs.get(field, supported) != supported:
                    raise FolderError(f"config.json: {field}: {theirs[field]} is not supported for {self.kind} (supported: {supported})")
            readout["dropout"] = theirs.get("summary_last_dropout", 0.1)
        return {**readout, "dense": "gelu"} if "dense" in readout else readout

    def masked_fields(self, activation: str, eps: float) -> dict[str, Any]:
        return super().masked_fields("gelu", eps)
