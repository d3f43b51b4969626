"""DETR in the Hugging Face ecosystem, on a trunk of its own tools (`use_timm_backbone: false`): pure renames. Their batch norms of the trunk are frozen, and do
not count the batches that their statistics have seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.detector import DetectorConfig
from ftheta.architectures.resnet import ResNetConfig
from ftheta.core.errors import FolderError
from ftheta.interop.huggingface.activations import ACTIVATIONS, activation_of
from ftheta.interop.huggingface.pictures import classes_of, named_classes, refuse
from ftheta.interop.huggingface.resnet import ResNet
from ftheta.interop.mapping import Family, Line, pairs

ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
LAYER = {
    **{f"mix.{ours}": f"self_attn.{theirs}" for ours, theirs in ATTENTION.items()}, "mix_norm": "self_attn_layer_norm",
    "feed.up": "fc1", "feed.down": "fc2", "feed_norm": "final_layer_norm",
}
ACROSS = {**{f"across.{ours}": f"encoder_attn.{theirs}" for ours, theirs in ATTENTION.items()}, "across_norm": "encoder_attn_layer_norm"}
SUPPORTED = {
    "auxiliary_loss": False, "dilation": False, "position_embedding_type": "sine", "attention_dropout": 0.0, "activation_dropout": 0.0, "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}


class DETR(Family):
    """A residual network, its last map projected, and queries that look at it."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, DetectorConfig) or config.head.kind != "queries" or not isinstance(config.trunk, ResNetConfig):
            return None
        trunk = ResNet().export_config(config.trunk)
        if trunk is None:
            return None
        head = config.head.arguments
        hidden = head["hidden"] or 4 * config.width
        trunk = {name: value for name, value in trunk.items() if name not in ("architectures", "id2label", "label2id", "dtype")}
        fields = {
            "architectures": ["DetrForObjectDetection"], "model_type": "detr", "use_timm_backbone": False, "num_channels": config.trunk.channels, "d_model": config.width,
            "backbone_config": {**trunk, "out_features": [f"stage{len(config.trunk.depths)}"]}, "num_queries": head["queries"], "decoder_layers": config.depth,
            "encoder_layers": config.depth if head["encoder"] is None else head["encoder"], "decoder_attention_heads": head["heads"],
            "encoder_attention_heads": head["encoder_heads"] or head["heads"], "decoder_ffn_dim": hidden, "encoder_ffn_dim": head["encoder_hidden"] or hidden,
            "dropout": head["dropout"], "activation_function": ACTIVATIONS[config.activation], "dtype": "float32", **SUPPORTED, **named_classes(config.classes),
        }
        said = config.replace(head={**config.head.dump(), **filled(fields)})
        return fields if self.import_config(fields) == said else None

    def import_config(self, theirs: Mapping[str, Any]) -> DetectorConfig:
        refuse(theirs, "detr", {"architectures": ["DetrForObjectDetection"], "use_timm_backbone": False, **SUPPORTED})
        trunk = theirs.get("backbone_config")
        if not isinstance(trunk, Mapping) or trunk.get("model_type") != "resnet":
            kind = trunk.get("model_type") if isinstance(trunk, Mapping) else trunk
            raise FolderError(f"config.json: backbone_config: {kind} is not supported for detr (supported: resnet, with use_timm_backbone false)")
        network = ResNet().import_config({**trunk, **named_classes(classes_of(theirs))})
        refuse(trunk, "detr", {"out_features": [f"stage{len(network.depths)}"]})
        return DetectorConfig.parse({
            "kind": "detector", "trunk": network.dump(), "strides": [max(level.stride for level in network.levels().values())], "neck": "projection",
            "width": theirs.get("d_model", 256), "depth": theirs.get("decoder_layers", 6), "norm": "none",
            "activation": activation_of(theirs.get("activation_function", "relu"), "activation_function", "detr"),
            "head": {"kind": "queries", "queries": theirs.get("num_queries", 100), "dropout": theirs.get("dropout", 0.1), **filled(theirs)},
        })

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        assert isinstance(config, DetectorConfig)
        head = config.head.arguments
        lines: list[Line] = []
        for line in ResNet().lines(config.trunk):
            if not line.ours[0].startswith("head."):
                theirs = f"model.backbone.conv_encoder.model.{line.theirs.removeprefix('resnet.')}"
                lines.append(Line((f"trunk.{line.ours[0]}",), "" if theirs.endswith("num_batches_tracked") else theirs))
        names = {"neck.lateral.0": "model.input_projection", "heads.norm": "model.decoder.layernorm", "heads.answer": "class_labels_classifier"}
        names |= {f"heads.box.{i}": f"bbox_predictor.layers.{i}" for i in range(3)}
        for side, depth, parts in (("encoder", config.depth if head["encoder"] is None else head["encoder"], LAYER), ("decoder", config.depth, {**LAYER, **ACROSS})):
            names |= {f"heads.{side}.{i}.{ours}": f"model.{side}.layers.{i}.{theirs}" for i in range(depth) for ours, theirs in parts.items()}
        return [*lines, *pairs(names, "weight", "bias"), Line(("heads.places",), "model.query_position_embeddings.weight")]


def filled(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of the head's layers, all of them said."""
    return {
        "heads": theirs.get("decoder_attention_heads", 8), "hidden": theirs.get("decoder_ffn_dim", 2048), "encoder": theirs.get("encoder_layers", 6),
        "encoder_heads": theirs.get("encoder_attention_heads", 8), "encoder_hidden": theirs.get("encoder_ffn_dim", 2048),
    }
