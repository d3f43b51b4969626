"""ResNet in the Hugging Face ecosystem: pure renames, running statistics of the batch norms included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.resnet import ResNetConfig
from ftheta.core.errors import FolderError
from ftheta.interop.mapping import Family, Line

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class ResNet(Family):
    """The large stem; basic or bottleneck layers, the stride in the 3×3 convolution."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, ResNetConfig) or config.stem != "imagenet":
            return None
        names = {str(number): f"LABEL_{number}" for number in range(config.classes)}
        return {
            "architectures": ["ResNetForImageClassification"], "model_type": "resnet", "num_channels": config.channels, "embedding_size": config.stem_width,
            "hidden_sizes": list(config.widths), "depths": list(config.depths), "layer_type": config.block, "hidden_act": "relu",
            "downsample_in_first_stage": config.downsample_first, "downsample_in_bottleneck": False, "dtype": "float32",
            "id2label": names, "label2id": {name: int(number) for number, name in names.items()},
        }

    def import_config(self, theirs: Mapping[str, Any]) -> ResNetConfig:
        for field, supported in (("hidden_act", "relu"), ("downsample_in_bottleneck", False)):
            if theirs.get(field, supported) != supported:
                raise FolderError(f"config.json: {field}: {theirs[field]} is not supported for resnet (supported: {supported})")
        labels = theirs.get("id2label")
        return ResNetConfig.parse({
            "kind": "resnet", "channels": theirs.get("num_channels", 3), "classes": len(labels) if labels else theirs.get("num_labels", 2),
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
        lines = []
        for ours, theirs in steps.items():
            lines.append(Line((f"{ours}.convolution.weight",), f"{theirs}.convolution.weight"))
            lines += [Line((f"{ours}.norm.{part}",), f"{theirs}.normalization.{part}") for part in NORM]
        return [*lines, Line(("head.weight",), "classifier.1.weight"), Line(("head.bias",), "classifier.1.bias")]
