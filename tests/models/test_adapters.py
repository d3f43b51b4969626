"""Adapter folders go to PEFT and come back."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
import transformers
from typer.testing import CliRunner

import ftheta
from ftheta.adaptation.lora import LoRA
from ftheta.adaptation.virtual import PromptTuning
from ftheta.architectures.decoder import DecoderConfig
from ftheta.cli import app
from ftheta.core.errors import FolderError, UsageError
from ftheta.core.tensors import fingerprint
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


@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("ours_first", [False, True])
def test_changes_of_convolutions_go_to_peft_and_come_back(magnitude: bool, ours_first: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 2], layer_type="basic", num_labels=3)
    transformers.ResNetForImageClassification(config).eval().save_pretrained(tmp_path / "base")
    plain, image = transformers.ResNetForImageClassification.from_pretrained(tmp_path / "base").eval(), torch.randn(2, 3, 40, 33)
    if ours_first:
        model, adapt = ftheta.load(tmp_path / "base").architecture, LoRA(rank=2, alpha=6.0, magnitude=magnitude, targets=("stages.*.convolution",))
        adapt.apply(model, 0)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1)
        mine = model.eval()(image=image)["logits"].detach()
        folder = save_adapter(model, adapt, tmp_path / "adapter", str(tmp_path / "base"))
        found = peft.PeftModel.from_pretrained(plain, folder).eval()(image).logits.detach()
        torch.testing.assert_close(found, mine, atol=1e-5, rtol=1e-5)
    else:
        fields = {"r": 2, "lora_alpha": 8, "target_modules": r".*stages.*convolution", "init_lora_weights": False, "use_dora": magnitude}
        theirs = peft.get_peft_model(plain, peft.LoraConfig(**fields)).eval()             # type: ignore[arg-type]
        theirs.save_pretrained(tmp_path / "adapter")
        mine, folder = theirs(image).logits.detach(), tmp_path / "adapter"
    back = ftheta.load(tmp_path / "base").architecture.eval()
    assert (back(image=image)["logits"] - mine).abs().max() > 1e-3
    merge_adapter(back, folder)
    torch.testing.assert_close(back(image=image)["logits"], mine, atol=1e-5, rtol=1e-5)


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


def three(tmp_path: Path, family: str = "llama") -> tuple[Path, dict[str, torch.Tensor]]:
    """A base with the adapters `one` (LoRA), `two` (DoRA) and `soft` beside it, and what the base with the first two merged would be."""
    place = base(family, tmp_path)
    thetas = {"base": ftheta.load(place).architecture.theta()}
    for name, adapt in {"one": LoRA(rank=2), "two": LoRA(rank=3, magnitude=True, targets=("up", "output")), "soft": PromptTuning(tokens=3)}.items():
        model = ftheta.load(place).architecture
        adapt.apply(model, 0)
        for i, parameter in enumerate(p for p in model.parameters() if p.requires_grad):
            parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)) * 0.2)
        save_adapter(model, adapt, tmp_path / name, str(place), fingerprint(thetas["base"]))
        adapt.finish(model)
        thetas[name] = model.theta()
    return place, thetas                                                                  # type: ignore[return-value]


def test_several_adapters_one_by_one_together_and_none(tmp_path: Path) -> None:
    place, thetas = three(tmp_path)
    model = ftheta.load(place)
    for name in ("one", "two", "soft"):
        model.attach(tmp_path / name)
    for name in ("one", "two"):
        found = model.use(name).architecture.theta()
        assert all(torch.allclose(found[key], value, atol=1e-5) for key, value in thetas[name].items())       # type: ignore[attr-defined]
    mixed = model.use({"one": 0.3, "two": -1.5, "soft": 1}).architecture.theta()
    assert "virtual.weight" in mixed
    for key, value in thetas["base"].items():                                             # type: ignore[attr-defined]
        wanted = value + 0.3 * (thetas["one"][key] - value) - 1.5 * (thetas["two"][key] - value)
        torch.testing.assert_close(mixed[key], wanted, atol=1e-5, rtol=1e-5)
    before = model.architecture(tokens=torch.arange(20)[None])["logits"].detach()
    again = ftheta.load(ftheta.save(model, tmp_path / "kept"))
    assert torch.equal(again.architecture(tokens=torch.arange(20)[None])["logits"], before)
    assert torch.equal(model.architecture(tokens=torch.arange(20)[None])["logits"], before)
    for one in (model, again):
        plain = one.use(None).architecture.theta()
        assert plain.keys() == thetas["base"].keys() and all(torch.equal(plain[key], value) for key, value in thetas["base"].items())   # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="no adapter is called 'onne'; did you mean 'one'"):
        model.use("onne")
    model.attach(tmp_path / "soft", "more")
    with pytest.raises(UsageError, match="soft, more: learned tokens cannot be mixed"):
        model.use({"soft": 1, "more": 1})
    assert model.use("soft").generate("abc", most=3, temperature=0) == again.use("soft").generate("abc", most=3, temperature=0)


def test_generate_with_an_adapter(tmp_path: Path) -> None:
    place, _ = three(tmp_path)
    shown = CliRunner().invoke(app, ["generate", str(place), "abc", "--most", "5", "--temperature", "0", "--adapter", str(tmp_path / "one")])
    wanted = ftheta.load(place).attach(tmp_path / "one").use("one").generate("abc", most=5, temperature=0, top_p=0.95)
    assert shown.exit_code == 0 and shown.output == f"abc{wanted}\n"


def test_an_adapter_of_another_base_is_refused_and_both_are_named(tmp_path: Path) -> None:
    place, _ = three(tmp_path)
    other = base("llama", tmp_path / "elsewhere")
    with pytest.raises(FolderError, match=f"one was learned beside {place} .* not beside {other}"):
        ftheta.load(other).attach(tmp_path / "one")
    small = DecoderConfig.parse({"kind": "decoder", "vocab": 260, "dim": 8, "depth": 2, "context": 32, **SHAPES["llama"]}).build()
    small.initialise(0)
    narrow = ftheta.load(ftheta.save(Model(small, TextProcessor(Bytes().train(["abc"])), "text-generation"), tmp_path / "narrow"))
    for name in ("one", "soft"):
        (tmp_path / name / "base.json").unlink()                                          # as PEFT writes them
        with pytest.raises(FolderError, match=f"(do not fit|needs).*learned beside {place}, the model is .*narrow"):
            narrow.attach(tmp_path / name)


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
