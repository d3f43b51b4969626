"""ViT and DeiT in the Hugging Face ecosystem: pure renames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.vit import ViTConfig
from ftheta.core.config import Part
from ftheta.core.errors import FolderError
from ftheta.interop.huggingface.activations import ACTIVATIONS, activation_of
from ftheta.interop.huggingface.pictures import classes_of, named_classes, refuse, sides
from ftheta.interop.mapping import Family, Line, numbered, pairs

LAYER = {
    "mix.before": "layernorm_before", "mix.inner.query": "attention.attention.query", "mix.inner.key": "attention.attention.key",
    "mix.inner.value": "attention.attention.value", "mix.inner.output": "attention.output.dense", "feed.before": "layernorm_after",
    "feed.inner.up": "intermediate.dense", "feed.inner.down": "output.dense",
}


class ViT(Family):
    """Patches, a class token, learned positions, layers as BERT's with the norm before."""

    kind: ClassVar[str] = "vit"
    classes: ClassVar[str] = "ViTForImageClassification"
    distilled: ClassVar[bool] = False
    heads: ClassVar[Mapping[str, str]] = {"head": "classifier"}

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, ViTConfig) or not isinstance(config.mixer, Part):
            return None
        kinds = (config.stem.kind, config.positions.kind, config.mixer.kind, config.feedforward.kind, config.norm.kind)
        if kinds != ("patches", "learned", "attention", "mlp", "layernorm"):
            return None
        mixer, feed = config.mixer.arguments, config.feedforward.arguments
        hidden = feed["hidden"] or 4 * config.dim
        fields = {
            "architectures": [self.classes], "model_type": self.kind, "num_channels": config.channels, "hidden_size": config.dim, "dtype": "float32",
            "num_hidden_layers": config.depth, "num_attention_heads": mixer["heads"], "intermediate_size": hidden, "hidden_act": ACTIVATIONS[feed["activation"]],
            "hidden_dropout_prob": config.dropout, "attention_probs_dropout_prob": 0.0, "initializer_range": config.std, "qkv_bias": mixer["bias"],
            "layer_norm_eps": config.norm.arguments["eps"], "patch_size": config.stem.arguments["size"],
            "image_size": config.height if config.height == config.width else [config.height, config.width], **named_classes(config.classes),
        }
        said = config.replace(feedforward={**config.feedforward.dump(), "hidden": hidden}, skipped=0.0)              # which is about training alone
        return fields if self.import_config(fields) == said else None

    def import_config(self, theirs: Mapping[str, Any]) -> ViTConfig:
        refuse(theirs, self.kind, {"architectures": [self.classes]})
        (height, width), (patch, across) = sides(theirs, "image_size", 224), sides(theirs, "patch_size", 16)
        if patch != across:
            raise FolderError(f"config.json: patch_size: {theirs['patch_size']} is not supported for {self.kind} (supported: one number, or two that are equal)")
        bias = theirs.get("qkv_bias", True)
        mixer = {"kind": "attention", "heads": theirs.get("num_attention_heads", 12), "bias": bias, "output_bias": None if bias else True}
        activation = activation_of(theirs.get("hidden_act", "gelu"), "hidden_act", self.kind)
        return ViTConfig.parse({
            "kind": "vit", "channels": theirs.get("num_channels", 3), "classes": classes_of(theirs), "height": height, "width": width,
            "stem": {"kind": "patches", "size": patch}, "dim": theirs.get("hidden_size", 768), "depth": theirs.get("num_hidden_layers", 12), "mixer": mixer,
            "norm": {"kind": "layernorm", "eps": theirs.get("layer_norm_eps", 1e-12)}, "distillation_token": self.distilled,
            "feedforward": {"kind": "mlp", "hidden": theirs.get("intermediate_size", 3072), "activation": activation, "bias": True},
            "dropout": theirs.get("hidden_dropout_prob", 0.0), "std": theirs.get("initializer_range", 0.02),
        })

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        assert isinstance(config, ViTConfig)
        names = {"stem.convolution": f"{self.kind}.embeddings.patch_embeddings.projection", "norm": f"{self.kind}.layernorm", **self.heads}
        names |= {f"layers.{{i}}.{ours}": f"{self.kind}.encoder.layer.{{i}}.{theirs}" for ours, theirs in LAYER.items()}
        alone = {"first": "cls_token", "positions.weight": "position_embeddings", **({"second": "distillation_token"} if self.distilled else {})}
        lines = pairs(names, "weight", "bias")
        lines += [Line((ours,), f"{self.kind}.embeddings.{theirs}") for ours, theirs in alone.items()]
        bias = isinstance(config.mixer, Part) and config.mixer.arguments["bias"]
        silent = () if bias else tuple(f"mix.inner.{part}.bias" for part in ("query", "key", "value"))
        return numbered([line for line in lines if not line.ours[0].endswith(silent)] if silent else lines, config.depth)


class DeiT(ViT):
    """As ViT, with a distillation token and a head for it."""

    kind = "deit"
    classes = "DeiTForImageClassificationWithTeacher"
    distilled = True
    heads: ClassVar[Mapping[str, str]] = {"head": "cls_classifier", "distilled": "distillation_classifier"}
