"""Our ResNets equal transformers', load there with no convert step, and come back bit-equal."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.resnet import ResNet, ResNetConfig
from ftheta.core.errors import FolderError
from ftheta.core.tensors import mismatches
from ftheta.data.processors.image import ImageProcessor
from ftheta.interop.huggingface.resnet import ResNet as Family
from ftheta.interop.mapping import to_ours, to_theirs
from ftheta.models.folder import load, save
from ftheta.models.model import Model

transformers = pytest.importorskip("transformers")


def random_config(block: str, seed: int) -> ResNetConfig:
    draw = random.Random(seed)
    stages = draw.randint(1, 4)
    return ResNetConfig(
        channels=draw.choice([1, 3, 4]), classes=draw.randint(2, 11), block=block, depths=tuple(draw.randint(1, 3) for _ in range(stages)),  # type: ignore[arg-type]
        widths=tuple(4 * draw.randint(1, 5) for _ in range(stages)), stem_width=4 * draw.randint(1, 5), downsample_first=draw.random() < 0.5,
    )


def random_model(config: ResNetConfig) -> ResNet:
    """Every tensor random, so that a swapped or forgotten one shows."""
    model, generator = config.build(), torch.Generator().manual_seed(0)
    for name, value in model.theta().items():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator) / math.prod(value.shape[1:]) ** 0.5)
            if name.endswith(("running_var", "norm.weight")):
                value.abs_().add_(0.5)
        else:
            value.fill_(17)
    return model.eval()


CASES = [pytest.param(random_config(block, seed), id=f"{block}-{seed}") for block in ("basic", "bottleneck") for seed in range(4)]


@pytest.mark.parametrize("config", CASES)
@torch.no_grad()
def test_logits_and_features_equal_theirs(config: ResNetConfig) -> None:
    ours, family = random_model(config), Family()
    fields = family.export_config(config)
    assert fields is not None
    theirs = transformers.ResNetForImageClassification(transformers.ResNetConfig(**fields)).eval()
    theirs.load_state_dict(to_theirs(family.lines(config), ours.theta()), strict=True)
    image = torch.rand(3, config.channels, 45, 38)
    expected, outputs = theirs(image), ours(image=image)
    pooled = theirs.resnet(image).pooler_output.flatten(1)
    for found, wanted in ((outputs["logits"], expected.logits), (outputs["features"], pooled)):
        assert 0.01 < wanted.abs().max() < 100 and (found - wanted).abs().max() <= 1e-5


@pytest.mark.parametrize("config", CASES[:2] + CASES[-2:])
def test_table_is_a_bijection_over_all_tensors(config: ResNetConfig) -> None:
    family, ours = Family(), random_model(config).theta()
    lines = family.lines(config)
    assert sorted(line.ours[0] for line in lines) == sorted(ours) and len({line.theirs for line in lines}) == len(lines)
    back = to_ours(lines, to_theirs(lines, ours), ours)
    assert not mismatches(back, ours) and all(torch.equal(back[name], ours[name]) for name in ours)
    fields = family.export_config(config)
    assert fields is not None and family.import_config(json.loads(json.dumps(fields))) == config


@pytest.mark.parametrize("config", [CASES[0], CASES[-1]])
def test_their_tools_load_our_folder_and_we_load_theirs(tmp_path: Path, config: ResNetConfig) -> None:
    ours = random_model(config)
    save(Model(ours, ImageProcessor((40, 40), config.channels), "image-classification"), tmp_path / "ours")
    theirs, report = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    image = torch.rand(2, config.channels, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(image).logits, ours(image=image)["logits"], atol=1e-5, rtol=1e-5)
    theirs.save_pretrained(tmp_path / "theirs")
    back = load(tmp_path / "theirs").architecture.theta()
    assert all(torch.equal(value, back[name]) for name, value in ours.theta().items())


def test_their_default_is_resnet_50() -> None:
    fields = transformers.ResNetConfig(num_labels=1000).to_dict()
    config = Family().import_config(fields)
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in config.build().parameters()) == 25_557_032
    assert config == Family().import_config({"model_type": "resnet", "id2label": {str(i): "x" for i in range(1000)}})


def test_what_they_have_no_name_for_is_not_exported() -> None:
    assert Family().export_config(ResNetConfig(channels=1, classes=2, stem="small")) is None
    assert Family().export_config(DecoderConfig.parse({"vocab": 4, "dim": 12})) is None


@pytest.mark.parametrize("field, value", [("hidden_act", "gelu"), ("downsample_in_bottleneck", True)])
def test_unsupported_fields_are_named(field: str, value: object) -> None:
    with pytest.raises(FolderError, match=field):
        Family().import_config({field: value})
