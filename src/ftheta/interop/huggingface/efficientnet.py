"""EfficientNet in the Hugging Face ecosystem: pure renames. Its config counts channels from a base and a factor, as the paper does, and lists the blocks whose
padding is even; depths are said as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.convnet import ConvNetConfig
from ftheta.blocks.map_layers import rounded
from ftheta.core.errors import FolderError
from ftheta.interop.huggingface.activations import ACTIVATIONS, activation_of
from ftheta.interop.huggingface.pictures import classes_of, named_classes, normed, refuse
from ftheta.interop.mapping import Family, Line, pairs

STEM, TOP = 32, 1280
ONLY = {"pooling_type": "mean", "depth_divisor": 8}
USUAL = {
    "kernel_sizes": [3, 3, 5, 3, 5, 5, 3], "in_channels": [32, 16, 24, 40, 80, 112, 192], "out_channels": [16, 24, 40, 80, 112, 192, 320],
    "strides": [1, 2, 2, 2, 1, 2, 1], "num_block_repeats": [1, 2, 2, 3, 3, 4, 1], "expand_ratios": [1, 6, 6, 6, 6, 6, 6],
}


class EfficientNet(Family):
    """A stem, stages of inverted residuals with squeeze-and-excitation, a 1×1 convolution."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, ConvNetConfig) or config.norm.kind != "batchnorm" or any(stage.layer.kind != "inverted" for stage in config.stages[1:-1]):
            return None
        stem, *stages, top = config.stages
        starts = [sum(stage.depth for stage in stages[:number]) for number in range(len(stages))]
        for factor in (top.width / TOP, stem.width / STEM):
            widths = [base(stage.width, factor) for stage in stages]
            gates = [stage.layer.arguments["gate"] for stage in stages]
            if None in widths or None in gates:
                return None
            fields = {
                "architectures": ["EfficientNetForImageClassification"], "model_type": "efficientnet", "num_channels": config.channels, "dtype": "float32",
                "width_coefficient": factor, "depth_coefficient": 1.0, **ONLY, "hidden_dim": top.width, "in_channels": [STEM, *widths[:-1]], "out_channels": widths,
                "kernel_sizes": [stage.layer.arguments["kernel"] for stage in stages], "strides": [stage.reduce for stage in stages],
                "num_block_repeats": [stage.depth for stage in stages], "expand_ratios": [whole(stage.layer.arguments["expand"]) for stage in stages],
                "depthwise_padding": [start for start, stage in zip(starts, stages, strict=True) if stage.reduce > 1 and stage.layer.arguments["padding"] == "half"],
                "squeeze_expansion_ratio": gates[0].arguments["share"], "hidden_act": ACTIVATIONS[config.activation],
                "batch_norm_eps": config.norm.arguments["eps"], "batch_norm_momentum": round(1 - config.norm.arguments["momentum"], 12),
                "dropout_rate": config.dropout, "drop_connect_rate": config.skipped, **named_classes(config.classes),
            }
            try:
                if self.import_config(fields) == config:
                    return fields
            except FolderError:
                continue
        return None

    def import_config(self, theirs: Mapping[str, Any]) -> ConvNetConfig:
        refuse(theirs, "efficientnet", ONLY)
        said = {name: theirs.get(name, usual) for name, usual in USUAL.items()}
        factor, even = float(theirs.get("width_coefficient", 2.0)), theirs.get("depthwise_padding", [])
        widths = [rounded(width * factor, 8) for width in said["out_channels"]]
        given = [rounded(width * factor, 8) for width in said["in_channels"]]
        stem, top = rounded(STEM * factor, 8), rounded(TOP * factor, 8)
        refuse({"in_channels": given, "hidden_dim": theirs.get("hidden_dim", 2560)}, "efficientnet", {"in_channels": [stem, *widths[:-1]], "hidden_dim": top})
        if same := [width for width, before, stride in zip(widths, given, said["strides"], strict=True) if width == before and stride == 1]:
            raise FolderError(f"config.json: out_channels: stages that keep {same[0]} channels and the size of maps are not supported for efficientnet: theirs add nothing")
        gate = {"kind": "squeeze_excite", "share": theirs.get("squeeze_expansion_ratio", 0.25)}
        stages: list[dict[str, Any]] = [{"width": stem, "reduce": 2, "layer": {"kind": "convolution", "padding": "end"}}]
        block = 0
        for width, kernel, stride, repeats, expand in zip(widths, *(said[n] for n in ("kernel_sizes", "strides", "num_block_repeats", "expand_ratios")), strict=True):
            padding = "half" if stride == 1 or block in even else "end"
            layer = {"kind": "inverted", "kernel": kernel, "expand": float(expand), "padding": padding, "gate": gate}
            depth = math.ceil(repeats * theirs.get("depth_coefficient", 3.1))
            stages.append({"width": width, "depth": depth, "reduce": stride, "layer": layer})
            block += depth
        # theirs is TensorFlow's momentum: the share of what was there before
        norm = {"kind": "batchnorm", "eps": theirs.get("batch_norm_eps", 0.001), "momentum": round(1 - theirs.get("batch_norm_momentum", 0.99), 12)}
        return ConvNetConfig.parse({
            "kind": "convnet", "channels": theirs.get("num_channels", 3), "classes": classes_of(theirs), "norm": norm,
            "stages": [*stages, {"width": top, "layer": {"kind": "convolution", "kernel": 1}}],
            "activation": activation_of(theirs.get("hidden_act", "swish"), "hidden_act", "efficientnet"), "dropout": theirs.get("dropout_rate", 0.5),
            "skipped": theirs.get("drop_connect_rate", 0.2),
        })

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        assert isinstance(config, ConvNetConfig)
        last = len(config.stages) - 1
        lines = normed("stages.0.layers.0", "efficientnet.embeddings.convolution", "efficientnet.embeddings.batchnorm")
        lines += normed(f"stages.{last}.layers.0", "efficientnet.encoder.top_conv", "efficientnet.encoder.top_bn")
        blocks = [(f"stages.{s}.layers.{i}.inner", stage) for s, stage in enumerate(config.stages[:last]) if s for i in range(stage.depth)]
        for number, (ours, stage) in enumerate(blocks):
            theirs = f"efficientnet.encoder.blocks.{number}"
            if stage.layer.arguments["expand"] != 1:
                lines += normed(f"{ours}.expand", f"{theirs}.expansion.expand_conv", f"{theirs}.expansion.expand_bn")
            lines += normed(f"{ours}.depthwise", f"{theirs}.depthwise_conv.depthwise_conv", f"{theirs}.depthwise_conv.depthwise_norm")
            lines += pairs({f"{ours}.gate.{part}": f"{theirs}.squeeze_excite.{part}" for part in ("reduce", "expand")}, "weight", "bias")
            lines += normed(f"{ours}.project", f"{theirs}.projection.project_conv", f"{theirs}.projection.project_bn")
        return [*lines, *pairs({"head": "classifier"}, "weight", "bias")]


def base(width: int, factor: float) -> int | None:
    """A number that their factor makes this width."""
    near = round(width / factor)
    return next((found for found in range(near, near + 8) if rounded(found * factor, 8) == width), None)


def whole(value: float) -> int | float:
    """The number as they write it, without a fraction where it has none."""
    return int(value) if value == int(value) else value
