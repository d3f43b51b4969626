"""Adapter folders go to PEFT and come back."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
import transformers

import ftheta
from ftheta.adaptation.lora import LoRA
from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import FolderError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.adapters import merge_adapter, save_adapter
from ftheta.models.model import Model

SHAPES = {
    "llama": {"norm": "rmsnorm", "positions": "rotary", "feedforward": "gated", "mixer": {"kind": "attention", "heads": 4, "kv_heads": 2}, "tie": False},
    "gpt2": {"mixer": {"kind": "attention", "heads": 2, "bias": True}, "feedforward": {"kind": "mlp", "bias": True}},
}


def base(family: str, folder: Path) -> Path:
    config = DecoderConfig.parse({"kind": "decoder", "vocab": 260, "dim": 16, "depth": 2, "context": 32, **SHAPES[family]})
    model = config.build()
    model.initialise(0)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return ftheta.save(Model(model, TextProcessor(Bytes().train(["abc"])), "text-generation"), folder / "base")


def logits(folder: Path) -> torch.Tensor:
    return ftheta.load(folder).architecture(tokens=torch.arange(20)[None])["logits"].detach()


@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("family, targets", [("llama", None), ("gpt2", ("output", "up", "down"))])
def test_peft_reads_what_was_saved_and_it_comes_back(family: str, targets: tuple[str, ...] | None, magnitude: bool, tmp_path: Path) -> None:
    place = base(family, tmp_path)
    model = ftheta.load(place).architecture
    adapt = LoRA(rank=3, alpha=6.0, magnitude=magnitude, targets=targets)
    adapt.apply(model, 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1)
    mine = model(tokens=torch.arange(20)[None])["logits"].detach()
    folder = save_adapter(model, adapt, tmp_path / "adapter", str(place))
    theirs = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(place), folder)
    torch.testing.assert_close(theirs(torch.arange(20)[None]).logits.detach(), mine, atol=1e-5, rtol=1e-4)
    back = ftheta.load(place).architecture
    merge_adapter(back, folder)
    torch.testing.assert_close(back(tokens=torch.arange(20)[None])["logits"], mine, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_made_by_peft_is_read(family: str, tmp_path: Path) -> None:
    place = base(family, tmp_path)
    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=["c_attn", "c_fc"] if family == "gpt2" else ["q_proj", "down_proj"], init_lora_weights=False)
    theirs = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(place), config)
    theirs.save_pretrained(tmp_path / "adapter")
    theirs.eval()
    back = ftheta.load(place).architecture
    merge_adapter(back, tmp_path / "adapter")
    torch.testing.assert_close(back(tokens=torch.arange(20)[None])["logits"], theirs(torch.arange(20)[None]).logits, atol=1e-5, rtol=1e-4)


def test_a_composition_without_a_name_outside_round_trips_under_our_names(tmp_path: Path) -> None:
    config = DecoderConfig.parse({"kind": "decoder", "vocab": 260, "dim": 16, "depth": 1, "context": 8, "embed_norm": True, "mixer": {"kind": "attention", "heads": 2}})
    model, back = config.build(), config.build()
    model.initialise(0)
    back.initialise(0)
    LoRA(rank=2).apply(model, 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    merge_adapter(back, save_adapter(model, LoRA(rank=2), tmp_path / "adapter", "base"))
    LoRA().finish(model)
    assert all(torch.allclose(value, back.theta()[name], atol=1e-6) for name, value in model.theta().items())


def test_an_adapter_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    small = ftheta.load(base("llama", tmp_path)).architecture
    LoRA(rank=2).apply(small, 0)
    folder = save_adapter(small, LoRA(rank=2), tmp_path / "adapter", "base")
    other = ftheta.load(base("gpt2", tmp_path / "gpt2")).architecture
    with pytest.raises(FolderError, match="the model has no map for"):
        merge_adapter(other, folder)
    text = (folder / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text(text.replace('"LORA"', '"IA3"'))
    with pytest.raises(FolderError, match="peft_type: IA3 is not supported"):
        merge_adapter(ftheta.load(tmp_path / "base").architecture, folder)
