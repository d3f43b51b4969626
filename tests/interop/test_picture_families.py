"""ViT, DeiT, ConvNeXt, SegFormer, MobileNet v2 and EfficientNet: equal to transformers', loaded there with no convert step and no warning, and back bit-equal."""

from __future__ import annotations

import json
import logging
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import Architecture
from ftheta.core.config import Slot
from ftheta.core.errors import FolderError
from ftheta.data.processors.image import ImageProcessor
from ftheta.interop import FAMILIES
from ftheta.interop.mapping import Family, to_ours, to_theirs
from ftheta.models.folder import load, save
from ftheta.models.model import Model
from ftheta.models.outside import expressed

transformers = pytest.importorskip("transformers")

VIT: list[dict[str, Any]] = [
    {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40, "image_size": 32, "patch_size": 8, "layer_norm_eps": 1e-6},
    {"hidden_size": 20, "num_hidden_layers": 1, "num_attention_heads": 5, "intermediate_size": 80, "image_size": [24, 36], "patch_size": 6, "num_channels": 1,
     "hidden_act": "relu", "qkv_bias": False},
]
SIZES: dict[str, list[dict[str, Any]]] = {
    "vit": VIT,
    "deit": VIT,
    "convnext": [
        {"hidden_sizes": [8, 16, 12], "depths": [1, 2, 1], "num_stages": 3, "layer_scale_init_value": 0.5},
        {"hidden_sizes": [12, 12], "depths": [2, 1], "num_stages": 2, "num_channels": 1, "patch_size": 2, "layer_scale_init_value": 0.0, "hidden_act": "silu",
         "layer_norm_eps": 1e-5, "drop_path_rate": 0.2},
    ],
    "mobilenet_v2": [
        {"depth_multiplier": 0.35, "classifier_dropout_prob": 0.3},
        {"depth_multiplier": 0.75, "tf_padding": False, "num_channels": 1, "hidden_act": "hardswish", "finegrained_output": False, "expand_ratio": 2.0},
    ],
    "efficientnet": [
        {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640},
        {"width_coefficient": 0.5, "depth_coefficient": 1.2, "hidden_dim": 640, "num_channels": 1, "depthwise_padding": [2, 5], "hidden_act": "relu", "in_channels": [32, 48, 64],
         "out_channels": [48, 64, 96], "kernel_sizes": [3, 5, 3], "strides": [1, 2, 2], "num_block_repeats": [1, 2, 1], "expand_ratios": [1, 6, 3],
         "squeeze_expansion_ratio": 0.5, "batch_norm_momentum": 0.9},
    ],
}
SEGFORMER: list[dict[str, Any]] = [
    {"num_encoder_blocks": 3, "depths": [1, 2, 1], "hidden_sizes": [8, 12, 20], "sr_ratios": [4, 2, 1], "patch_sizes": [7, 3, 3], "strides": [4, 2, 2],
     "num_attention_heads": [1, 2, 4], "mlp_ratios": [2, 3, 4], "decoder_hidden_size": 16},
    {"num_encoder_blocks": 2, "depths": [2, 1], "hidden_sizes": [12, 18], "sr_ratios": [1, 3], "patch_sizes": [3, 5], "strides": [2, 4], "num_attention_heads": [3, 1],
     "mlp_ratios": [4, 1], "num_channels": 1, "hidden_act": "silu", "drop_path_rate": 0.0, "decoder_hidden_size": 6, "classifier_dropout_prob": 0.0},
]
SIZES |= {"segformer": SEGFORMER, "segformer pixels": SEGFORMER}
CLASSES = {
    "segformer": "SegformerForImageClassification", "segformer pixels": "SegformerForSemanticSegmentation",
    "vit": "ViTForImageClassification", "deit": "DeiTForImageClassificationWithTeacher", "convnext": "ConvNextForImageClassification",
    "mobilenet_v2": "MobileNetV2ForImageClassification", "efficientnet": "EfficientNetForImageClassification",
}
CASES = [pytest.param(name, fields, id=f"{name}-{i}") for name, variants in SIZES.items() for i, fields in enumerate(variants)]

def theirs_of(name: str, fields: dict[str, Any]) -> Any:
    """Their model with every tensor random, so that a swapped or forgotten one shows."""
    cls = getattr(transformers, CLASSES[name])
    model, draws = cls(cls.config_class(num_labels=5, **fields)).eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                fan = max(1, value[0].numel()) if value.ndim > 1 else 1
                value.copy_(torch.randn(value.shape, generator=draws) / fan**0.5)
                if key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
                    value.abs_().add_(0.5)
            else:
                value.fill_(17)
    return model


def pictures(config: Any, height: int, width: int) -> torch.Tensor:
    return 2 * torch.randn(3, config.num_channels, height, width, generator=torch.Generator().manual_seed(1))


def whole(logits: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Their logits; those of pixels at the picture's own size."""
    return logits if logits.ndim == 2 else torch.nn.functional.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False)


def shapes(name: str, fields: dict[str, Any]) -> list[tuple[int, int]]:
    if "image_size" in fields:
        size = fields["image_size"]
        return [(size, size) if isinstance(size, int) else tuple(size)]
    return [(64, 64), (45, 70)]


@pytest.mark.parametrize("name, fields", CASES)
@torch.no_grad()
def test_logits_are_theirs_and_their_folder_is_ours(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(name, fields)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load(tmp_path / "theirs")
    for height, width in shapes(name, fields):
        image = pictures(theirs.config, height, width)
        expected, found = whole(theirs(image).logits, image), ours.architecture.eval()(image=image)["logits"]
        assert 0.003 < expected.std(0).mean() < 30                                        # what the picture shows makes a difference
        assert (found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name, fields", CASES)
@torch.no_grad()
def test_their_tools_load_what_we_save_and_nothing_changes(name: str, fields: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = theirs_of(name, fields)
    theirs.save_pretrained(tmp_path / "theirs")
    model = load(tmp_path / "theirs")
    height, width = shapes(name, fields)[0]
    labels = [f"c{i}" for i in range(5)]
    ours = Model(model.architecture, ImageProcessor((height, width), theirs.config.num_channels, labels=labels), model.task.name)
    save(ours, tmp_path / "ours")
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        back, report = getattr(transformers, CLASSES[name]).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not caplog.records and not any(report[part] for part in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert list(back.config.id2label.values()) == labels
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, back.state_dict()[key]), key
    image = pictures(theirs.config, height, width)
    torch.testing.assert_close(back.eval()(image).logits, theirs(image).logits, atol=1e-5, rtol=1e-5)
    again = load(tmp_path / "ours").architecture
    assert again.config == model.architecture.config
    assert all(torch.equal(value, again.theta()[key]) for key, value in model.architecture.theta().items())
    back.save_pretrained(tmp_path / "back")
    third = load(tmp_path / "back").architecture
    assert third.config == again.config
    assert all(torch.equal(value, third.theta()[key]) for key, value in again.theta().items())


@pytest.mark.parametrize("name, fields", CASES)
def test_table_is_a_bijection_over_all_tensors(name: str, fields: dict[str, Any]) -> None:
    family: Family = FAMILIES.load(name.split()[0])()
    config = family.import_config(json.loads(json.dumps({"num_labels": 5, "architectures": [CLASSES[name]], **fields})))
    model: Architecture = config.build()
    model.initialise(0)
    ours, lines = model.theta(), family.lines(config)
    assert sorted(line.ours[0] for line in lines) == sorted(ours) and len({line.theirs for line in lines}) == len(lines)
    back = to_ours(lines, to_theirs(lines, ours), ours)
    assert all(torch.equal(back[key], ours[key]) for key in ours)


@pytest.mark.parametrize("size", [(40, 40), (32, 56), (16, 24)])
@pytest.mark.parametrize("name", ["vit", "deit"])
@torch.no_grad()
def test_positions_stretch_as_theirs(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    theirs = theirs_of(name, VIT[0])
    theirs.save_pretrained(tmp_path)
    image = pictures(theirs.config, *size)
    expected = theirs(image, interpolate_pos_encoding=True).logits
    torch.testing.assert_close(load(tmp_path).architecture.eval()(image=image)["logits"], expected, atol=1e-5, rtol=1e-5)


PRESETS = Path(str(resources.files("ftheta.architectures"))) / "presets"
NAMED = {
    **{f"convnet/efficientnet-b{i}": "efficientnet" for i in range(8)}, "convnet/mobilenet-v2": "mobilenet_v2", "vit/base-16": "vit", "vit/deit-tiny-16": "deit",
    **{f"convnet/convnext-{size}": "convnext" for size in ("tiny", "small", "base", "large")}, "resnet/50": "resnet",
    **{f"convnet/mit-b{i}": "segformer" for i in range(6)}, **{f"segmenter/segformer-b{i}": "segformer pixels" for i in range(6)},
    "convnet/vgg-16-bn": None, "convnet/mobilenet-v3-small": None, "convnet/efficientnet-lite0": None, "convnet/lenet-5": None, "vit/digits": None,
    "resnet/resnext-50-32x4d": None, "resnet/cifar-20": None,
}


@pytest.mark.parametrize("preset", NAMED)
def test_presets_have_the_names_that_the_ecosystem_has(preset: str) -> None:
    fields = YAML(typ="safe").load(PRESETS / f"{preset}.yaml")
    sizes = {"channels": 3, "classes": 1000}
    config = Slot(ARCHITECTURES).parse({**fields, "trunk": {**fields["trunk"], **sizes}} if "trunk" in fields else {**fields, **sizes})
    found = expressed(config)                                                             # type: ignore[arg-type]
    named = NAMED[preset]
    assert (found[0] if found else None) == (named and named.split()[0])
    if found and named:
        cls = getattr(transformers, {**CLASSES, "resnet": "ResNetForImageClassification"}[named])
        with torch.device("meta"):
            theirs, ours = cls(cls.config_class.from_dict(found[1])), config.build()      # type: ignore[union-attr]
        assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())


@pytest.mark.parametrize(
    "name, fields, said",
    [
        ("vit", {"patch_size": [16, 8]}, "patch_size"), ("vit", {"architectures": ["ViTModel"]}, "architectures"), ("vit", {"hidden_act": "quick_gelu"}, "hidden_act"),
        ("deit", {"architectures": ["DeiTForImageClassification"]}, "architectures"), ("convnext", {"num_stages": 3}, "num_stages"),
        ("mobilenet_v2", {"output_stride": 16}, "output_stride"), ("mobilenet_v2", {"depth_multiplier": 0.25}, "depth_multiplier"),
        ("segformer", {"strides": [4, 2, 1, 2]}, "strides"), ("segformer", {"architectures": ["SegformerModel"]}, "architectures"),
        ("segformer", {"num_encoder_blocks": 3}, "num_encoder_blocks"), ("segformer", {"reshape_last_stage": False}, "reshape_last_stage"),
        ("efficientnet", {"pooling_type": "max"}, "pooling_type"), ("efficientnet", {"hidden_dim": 100}, "hidden_dim"),
        ("efficientnet", {"out_channels": [32, 24, 40, 80, 112, 192, 320], "in_channels": [32, 32, 24, 40, 80, 112, 192]}, "out_channels"),
    ],
)
def test_unsupported_fields_are_named(name: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(FolderError, match=said):
        FAMILIES.load(name)().import_config(fields)
