"""MobileNet v2 in the Hugging Face ecosystem: pure renames. Its config says one factor for all widths, so only networks with such widths have a name there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.convnet import ConvNetConfig
from ftheta.blocks.map_layers import rounded
from ftheta.core.errors import FolderError
from ftheta.interop.huggingface.activations import ACTIVATIONS, activation_of
from ftheta.interop.huggingface.pictures import classes_of, named_classes, normed, refuse
from ftheta.interop.mapping import Family, Line, pairs

STEM, FIRST, LAST = 32, 16, 1280
STAGES = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
"""Width, depth and stride of the stages between, at factor 1."""
ONLY = {"output_stride": 32, "first_layer_is_expansion": True, "depth_divisible_by": 8, "min_depth": 8}
SAID = {"momentum": 0.1}
"""What a batch norm has that their config does not say, and that matters in training alone."""


class MobileNetV2(Family):
    """A stem, an inverted residual that is not expanded, sixteen that are, a 1×1 convolution."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, ConvNetConfig) or len(config.stages) != len(STAGES) + 3 or config.norm.kind != "batchnorm":
            return None
        wide = config.stages[2].layer
        if wide.kind != "inverted" or config.stages[0].layer.kind != "convolution":
            return None
        norm = {**config.norm.dump(), **SAID}
        for base, stage in zip((STEM, *(width for width, _, _ in STAGES), LAST), (config.stages[0], *config.stages[2:]), strict=True):
            fields = {
                "architectures": ["MobileNetV2ForImageClassification"], "model_type": "mobilenet_v2", "num_channels": config.channels, "dtype": "float32",
                "depth_multiplier": stage.width / base, "expand_ratio": wide.arguments["expand"], **ONLY, "hidden_act": ACTIVATIONS[config.activation],
                "finegrained_output": config.stages[-1].width == LAST, "tf_padding": config.stages[0].layer.arguments["padding"] == "same",
                "classifier_dropout_prob": config.dropout, "layer_norm_eps": norm["eps"], **named_classes(config.classes),
            }
            try:
                if self.import_config(fields) == config.replace(norm=norm):
                    return fields
            except FolderError:
                continue
        return None

    def import_config(self, theirs: Mapping[str, Any]) -> ConvNetConfig:
        refuse(theirs, "mobilenet_v2", ONLY)
        factor, expand = float(theirs.get("depth_multiplier", 1.0)), float(theirs.get("expand_ratio", 6.0))
        stem, first, *widths, last = (rounded(round(base * factor), 8) for base in (STEM, FIRST, *(width for width, _, _ in STAGES), LAST))
        if theirs.get("finegrained_output", True) and factor < 1:
            last = LAST
        if stem == first or any((middle := round(width * expand)) != rounded(middle, 8) or middle == width for width in (first, *widths)):
            raise FolderError(f"config.json: depth_multiplier: {factor:g} with expand_ratio {expand:g} gives widths that are not supported for mobilenet_v2")
        padding = "same" if theirs.get("tf_padding", True) else "half"
        stages: list[dict[str, Any]] = [
            {"width": stem, "reduce": 2, "layer": {"kind": "convolution", "padding": padding}}, {"width": first, "layer": {"kind": "inverted", "expand": 1.0}},
        ]
        for width, (_, depth, stride) in zip(widths, STAGES, strict=True):
            layer = {"kind": "inverted", "expand": expand, **({"padding": padding} if stride > 1 else {})}
            stages.append({"width": width, "depth": depth, "reduce": stride, "layer": layer})
        return ConvNetConfig.parse({
            "kind": "convnet", "channels": theirs.get("num_channels", 3), "classes": classes_of(theirs),
            "stages": [*stages, {"width": last, "layer": {"kind": "convolution", "kernel": 1}}],
            "norm": {"kind": "batchnorm", "eps": theirs.get("layer_norm_eps", 0.001), **SAID},
            "activation": activation_of(theirs.get("hidden_act", "relu6"), "hidden_act", "mobilenet_v2"), "dropout": theirs.get("classifier_dropout_prob", 0.8),
        })

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        assert isinstance(config, ConvNetConfig)
        names = {"stages.0.layers.0": "conv_stem.first_conv", f"stages.{len(config.stages) - 1}.layers.0": "conv_1x1"}
        blocks = [f"stages.{s}.layers.{i}.inner" for s, stage in enumerate(config.stages[:-1]) if s for i in range(stage.depth)]
        for number, ours in enumerate(blocks):
            theirs = f"layer.{number - 1}" if number else "conv_stem"
            parts = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}
            names |= {f"{ours}.{part}": f"{theirs}.{name}" for part, name in parts.items() if number or part != "expand"}
        lines = [line for ours, theirs in names.items() for line in normed(ours, f"mobilenet_v2.{theirs}.convolution", f"mobilenet_v2.{theirs}.normalization")]
        return [*lines, *pairs({"head": "classifier"}, "weight", "bias")]
