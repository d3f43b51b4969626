"""ResNet in the Hugging Face ecosystem: pure renames, running statistics of the batch norms included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.resnet import ResNetConfig
from ftheta.interop.huggingface.pictures import classes_of, named_classes, normed, refuse
from ftheta.interop.mapping import Family, Line, pairs


class ResNet(Family):
    """The large stem; basic or bottleneck layers, the stride in the 3×3 convolution, a projection where the shape changes."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, ResNetConfig):
            return None
        fields = {
            "architectures": ["ResNetForImageClassification"], "model_type": "resnet", "num_channels": config.channels, "embedding_size": config.stem_width,
            "hidden_sizes": list(config.widths), "depths": list(config.depths), "layer_type": config.block, "hidden_act": "relu",
            "downsample_in_first_stage": config.downsample_first, "downsample_in_bottleneck": False, "dtype": "float32", **named_classes(config.classes),
        }
        return fields if self.import_config(fields) == config else None

    def import_config(self, theirs: Mapping[str, Any]) -> ResNetConfig:
        refuse(theirs, "resnet", {"hidden_act": "relu", "downsample_in_bottleneck": False})
        return ResNetConfig.parse({
            "kind": "resnet", "channels": theirs.get("num_channels", 3), "classes": classes_of(theirs),
            "block": theirs.get("layer_type", "bottleneck"), "depths": theirs.get("depths", [3, 4, 6, 3]),
            "widths": theirs.get("hidden_sizes", [256, 512, 1024, 2048]), "stem": "imagenet", "stem_width": theirs.get("embedding_size", 64),
            "downsample_first": theirs.get("downsample_in_first_stage", False),
        })

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        assert isinstance(config, ResNetConfig)
        steps = {"stem": "resnet.embedder.embedder"}
        for s, stage in enumerate(config.layers()):
            for i, (inputs, outputs, stride) in enumerate(stage):
                ours, theirs = f"stages.{s}.{i}", f"resnet.encoder.stages.{s}.layers.{i}"
                steps |= {f"{ours}.inner.{j}": f"{theirs}.layer.{j}" for j in range(3 if config.block == "bottleneck" else 2)}
                if stride > 1 or inputs != outputs:
                    steps[f"{ours}.skip"] = f"{theirs}.shortcut"
        lines = [line for ours, theirs in steps.items() for line in normed(ours, f"{theirs}.convolution", f"{theirs}.normalization")]
        return [*lines, *pairs({"head": "classifier.1"}, "weight", "bias")]
