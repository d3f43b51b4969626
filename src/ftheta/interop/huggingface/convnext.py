"""ConvNeXt in the Hugging Face ecosystem: pure renames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.convnet import ConvNetConfig
from ftheta.interop.huggingface.activations import ACTIVATIONS, activation_of
from ftheta.interop.huggingface.pictures import classes_of, named_classes, refuse
from ftheta.interop.mapping import Family, Line, pairs

EPS = 1e-6
"""Of every norm but the last."""


class ConvNeXt(Family):
    """Stages of convnext layers; the first begins with patches, the others halve."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, ConvNetConfig) or any(stage.layer.kind != "convnext" for stage in config.stages) or config.last_norm.kind != "layernorm":
            return None
        fields = {
            "architectures": ["ConvNextForImageClassification"], "model_type": "convnext", "num_channels": config.channels, "dtype": "float32",
            "patch_size": config.stages[0].reduce, "num_stages": len(config.stages), "hidden_sizes": [stage.width for stage in config.stages],
            "depths": [stage.depth for stage in config.stages], "hidden_act": ACTIVATIONS[config.activation], "layer_norm_eps": config.last_norm.arguments["eps"],
            "layer_scale_init_value": config.stages[0].layer.arguments["scale"] or 0.0, "drop_path_rate": config.skipped, **named_classes(config.classes),
        }
        return fields if self.import_config(fields) == config else None

    def import_config(self, theirs: Mapping[str, Any]) -> ConvNetConfig:
        depths, widths = theirs.get("depths", [3, 3, 9, 3]), theirs.get("hidden_sizes", [96, 192, 384, 768])
        refuse(theirs, "convnext", {"num_stages": len(depths)})
        layer = {"kind": "convnext", "scale": theirs.get("layer_scale_init_value", 1e-6) or None}
        ways = [{"kind": "patches", "norm_place": "before" if number else "after"} for number in range(len(depths))]
        stages = [
            {"width": width, "depth": depth, "reduce": 2 if number else theirs.get("patch_size", 4), "by": way, "layer": layer}
            for number, (width, depth, way) in enumerate(zip(widths, depths, ways, strict=True))
        ]
        return ConvNetConfig.parse({
            "kind": "convnet", "channels": theirs.get("num_channels", 3), "classes": classes_of(theirs), "stages": stages,
            "norm": {"kind": "layernorm", "eps": EPS}, "activation": activation_of(theirs.get("hidden_act", "gelu"), "hidden_act", "convnext"),
            "last_norm": {"kind": "layernorm", "eps": theirs.get("layer_norm_eps", 1e-12)}, "skipped": theirs.get("drop_path_rate", 0.0),
        })

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        assert isinstance(config, ConvNetConfig)
        names = {"last_norm": "convnext.layernorm", "head": "classifier"}
        lines: list[Line] = []
        for s, stage in enumerate(config.stages):
            there = f"convnext.encoder.stages.{s}"
            norm, convolution = (f"{there}.downsampling_layer.{k}" for k in (0, 1)) if s else ("convnext.embeddings.layernorm", "convnext.embeddings.patch_embeddings")
            names |= {f"stages.{s}.reduction.norm": norm, f"stages.{s}.reduction.convolution": convolution}
            for i in range(stage.depth):
                ours, theirs = f"stages.{s}.layers.{i}.inner", f"{there}.layers.{i}"
                names |= {f"{ours}.depthwise": f"{theirs}.dwconv", f"{ours}.norm": f"{theirs}.layernorm", f"{ours}.feed.up": f"{theirs}.pwconv1"}
                names |= {f"{ours}.feed.down": f"{theirs}.pwconv2"}
                if stage.layer.arguments["scale"]:
                    lines.append(Line((f"{ours}.scale.weight",), f"{theirs}.layer_scale_parameter"))
        return [*lines, *pairs(names, "weight", "bias")]
