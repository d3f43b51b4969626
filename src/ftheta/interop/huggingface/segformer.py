"""SegFormer in the Hugging Face ecosystem: pure renames. Its classes are a `segmenter`, or the trunk alone with a class for the whole picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.convnet import ConvNetConfig
from ftheta.architectures.segmenter import SegmenterConfig
from ftheta.core.errors import FolderError
from ftheta.interop.huggingface.activations import ACTIVATIONS, activation_of
from ftheta.interop.huggingface.pictures import classes_of, named_classes, normed, refuse
from ftheta.interop.mapping import Family, Line, pairs

EPS = 1e-5
"""Of every norm, whatever `layer_norm_eps` says."""
PIXELS, PICTURES = "SegformerForSemanticSegmentation", "SegformerForImageClassification"
LAYER = {
    "mix.before": "layer_norm_1", "mix.inner.query": "attention.self.query", "mix.inner.key": "attention.self.key", "mix.inner.value": "attention.self.value",
    "mix.inner.output": "attention.output.dense", "mix.inner.reduce": "attention.self.sr", "mix.inner.norm": "attention.self.layer_norm", "feed.before": "layer_norm_2",
    "feed.inner.up": "mlp.dense1", "feed.inner.depthwise": "mlp.dwconv.dwconv", "feed.inner.down": "mlp.dense2",
}


class SegFormer(Family):
    """Stages of patches that overlap, layers of a transformer, and a norm."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        trunk = config.trunk if isinstance(config, SegmenterConfig) else config
        if not isinstance(trunk, ConvNetConfig) or any(stage.layer.kind != "mix_transformer" or stage.by.kind != "patches" for stage in trunk.stages):
            return None
        layers, ways = ([part.arguments for part in parts] for parts in zip(*((stage.layer, stage.by) for stage in trunk.stages), strict=True))
        head = {"decoder_hidden_size": config.width, "classifier_dropout_prob": config.dropout} if isinstance(config, SegmenterConfig) else {}
        fields = {
            "architectures": [PIXELS if head else PICTURES], "model_type": "segformer", "num_channels": trunk.channels, "num_encoder_blocks": len(trunk.stages),
            "depths": [stage.depth for stage in trunk.stages], "hidden_sizes": [stage.width for stage in trunk.stages], "strides": [stage.reduce for stage in trunk.stages],
            "sr_ratios": [layer["shrink"] for layer in layers], "num_attention_heads": [layer["heads"] for layer in layers],
            "mlp_ratios": [int(layer["expand"]) for layer in layers], "patch_sizes": [way["kernel"] or stage.reduce for way, stage in zip(ways, trunk.stages, strict=True)],
            "hidden_act": ACTIVATIONS[trunk.activation], "drop_path_rate": trunk.skipped, "dtype": "float32", **head, **named_classes(trunk.classes),
        }
        return fields if self.import_config(fields) == config else None

    def import_config(self, theirs: Mapping[str, Any]) -> ArchitectureConfig:
        (kind,) = theirs.get("architectures") or [PIXELS]
        if kind not in (PIXELS, PICTURES):
            raise FolderError(f"config.json: architectures: {kind} is not supported for segformer (supported: {PIXELS}, {PICTURES})")
        depths = theirs.get("depths", [2, 2, 2, 2])
        refuse(theirs, "segformer", {"num_encoder_blocks": len(depths), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "reshape_last_stage": True})
        columns = [
            depths, theirs.get("hidden_sizes", [32, 64, 160, 256]), theirs.get("strides", [4, 2, 2, 2]), theirs.get("patch_sizes", [7, 3, 3, 3]),
            theirs.get("num_attention_heads", [1, 2, 5, 8]), theirs.get("sr_ratios", [8, 4, 2, 1]), theirs.get("mlp_ratios", [4, 4, 4, 4]),
        ]
        if min(columns[2]) < 2:
            raise FolderError(f"config.json: strides: {columns[2]} is not supported for segformer (supported: 2 and more in every stage)")
        stages = [
            {"width": width, "depth": depth, "reduce": stride, "by": {"kind": "patches", "norm_place": "after", "kernel": patch},
             "layer": {"kind": "mix_transformer", "heads": heads, "shrink": shrink, "expand": expand}, "last_norm": {"kind": "layernorm", "eps": EPS}}
            for depth, width, stride, patch, heads, shrink, expand in zip(*columns, strict=True)
        ]
        trunk = {
            "kind": "convnet", "channels": theirs.get("num_channels", 3), "classes": classes_of(theirs), "stages": stages, "norm": {"kind": "layernorm", "eps": EPS},
            "activation": activation_of(theirs.get("hidden_act", "gelu"), "hidden_act", "segformer"), "skipped": theirs.get("drop_path_rate", 0.1),
        }
        if kind == PICTURES:
            return ConvNetConfig.parse(trunk)
        return SegmenterConfig.parse({
            "kind": "segmenter", "trunk": trunk, "width": theirs.get("decoder_hidden_size", 256), "dropout": theirs.get("classifier_dropout_prob", 0.1),
        })

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        trunk = config.trunk if isinstance(config, SegmenterConfig) else config
        assert isinstance(trunk, ConvNetConfig)
        names: dict[str, str] = {}
        for s, stage in enumerate(trunk.stages):
            names |= {f"{s}.reduction.norm": f"patch_embeddings.{s}.layer_norm", f"{s}.reduction.convolution": f"patch_embeddings.{s}.proj", f"{s}.last_norm": f"layer_norm.{s}"}
            alone = () if stage.layer.arguments["shrink"] > 1 else ("mix.inner.reduce", "mix.inner.norm")
            names |= {f"{s}.layers.{i}.{ours}": f"block.{s}.{i}.{theirs}" for i in range(stage.depth) for ours, theirs in LAYER.items() if ours not in alone}
        if not isinstance(config, SegmenterConfig):
            return pairs({**{f"stages.{ours}": f"segformer.encoder.{theirs}" for ours, theirs in names.items()}, "head": "classifier"}, "weight", "bias")
        head = {f"lateral.{s}": f"decode_head.linear_c.{s}.proj" for s in range(len(trunk.stages))}
        whole = {**{f"trunk.stages.{ours}": f"segformer.encoder.{theirs}" for ours, theirs in names.items()}, **head, "head": "decode_head.classifier"}
        return [*pairs(whole, "weight", "bias"), *normed("fuse", "decode_head.linear_fuse", "decode_head.batch_norm")]
