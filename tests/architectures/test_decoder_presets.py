"""Presets of decoders have the published numbers of parameters, and the ecosystem's name."""

from importlib import resources
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from ftheta.architectures.decoder import DecoderConfig
from ftheta.models.folder import expressed

PRESETS = Path(str(resources.files("ftheta.architectures"))) / "presets" / "decoder"
PUBLISHED = {
    "gpt2": ("gpt2", 124_439_808), "llama2-7b": ("llama", 6_738_415_616), "llama3-8b": ("llama", 8_030_261_248), "mistral-7b": ("mistral", 7_241_732_096),
    "qwen2-0.5b": ("qwen2", 494_032_768), "qwen3-0.6b": ("qwen3", 596_049_920), "mixtral-8x7b": ("mixtral", 46_702_792_704),
    "qwen3-30b-a3b": ("qwen3_moe", 30_532_122_624),
}


def test_every_preset_of_somebody_else_is_counted_here():
    assert {path.stem for path in PRESETS.glob("*.yaml")} == {*PUBLISHED, "small"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_published(name):
    family, count = PUBLISHED[name]
    text = (PRESETS / f"{name}.yaml").read_text()
    config = DecoderConfig.parse(YAML(typ="safe").load(text))
    with torch.device("meta"):
        model = config.build()
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert f"{count:,}" in text.splitlines()[0]
    outside = expressed(config)
    assert outside is not None and outside[0] == family
    assert {name for line in outside[2] for name in line.ours} == model.theta().keys()
