"""GPT-2- and Llama-shaped decoders equal transformers', load there with no convert step, and come back bit-equal."""

import json

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import FolderError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.folder import load, save
from ftheta.models.model import Model

transformers = pytest.importorskip("transformers")

GPT2 = {
    "kind": "decoder", "vocab": 260, "dim": 48, "depth": 3, "context": 64, "norm": {"kind": "layernorm", "eps": 1e-5},
    "mixer": {"kind": "attention", "heads": 4, "bias": True}, "feedforward": {"kind": "mlp", "bias": True},
}
LLAMA = {
    "kind": "decoder", "vocab": 260, "dim": 48, "depth": 2, "context": 64, "positions": "rotary", "norm": {"kind": "rmsnorm", "eps": 1e-5},
    "mixer": {"kind": "attention", "heads": 6, "kv_heads": 2}, "feedforward": {"kind": "gated", "hidden": 80}, "tie": False,
}
CASES = {
    "gpt2": (GPT2, "GPT2LMHeadModel"), "gpt2-odd": ({**GPT2, "dim": 45, "mixer": {"kind": "attention", "heads": 3, "bias": True}}, "GPT2LMHeadModel"),
    "gpt2-relu": ({**GPT2, "feedforward": {"kind": "mlp", "bias": True, "hidden": 50, "activation": "relu"}}, "GPT2LMHeadModel"),
    "llama": (LLAMA, "LlamaForCausalLM"), "llama-tied": ({**LLAMA, "tie": True, "mixer": {"kind": "attention", "heads": 4}}, "LlamaForCausalLM"),
    "llama-base": ({**LLAMA, "positions": {"kind": "rotary", "base": 500000.0}, "feedforward": "gated"}, "LlamaForCausalLM"),
}


def random_model(fields) -> Model:
    architecture = DecoderConfig.parse(fields).build()
    torch.manual_seed(0)
    for parameter in architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Model(architecture, TextProcessor(Bytes().train([])), "text-generation")


@pytest.mark.parametrize("name", CASES)
def test_transformers_loads_our_folder_with_equal_logits(tmp_path, name):
    fields, cls = CASES[name]
    model = random_model(fields)
    save(model, tmp_path / "m")
    assert json.loads((tmp_path / "m" / "config.json").read_text())["architectures"] == [cls]
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", output_loading_info=True)
    assert type(theirs).__name__ == cls
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    tokens = torch.randint(260, (2, 40))
    with torch.no_grad():
        ours, other = model.architecture(tokens=tokens)["logits"], theirs.eval()(tokens).logits
    assert (ours - other).abs().max() <= 1e-5 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("name", CASES)
def test_their_folder_loads_here_and_round_trips_bit_equal(tmp_path, name):
    model = random_model(CASES[name][0])
    save(model, tmp_path / "ours")
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer.json").write_bytes((tmp_path / "ours" / "tokenizer.json").read_bytes())
    back = load(tmp_path / "theirs")
    assert back.architecture.config == model.architecture.config.replace(
        feedforward={**model.architecture.config.feedforward.dump(), "hidden": back.architecture.config.feedforward.arguments["hidden"]},
        std=back.architecture.config.std,
        mixer={**model.architecture.config.mixer.dump(), "kv_heads": back.architecture.config.mixer.arguments["kv_heads"]},
    )
    ours, theirs = model.architecture.theta(), back.architecture.theta()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_tokenizer_loads_there_with_equal_ids(tmp_path):
    model = random_model(GPT2)
    save(model, tmp_path / "m")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    text = "def f(x): return '中文' # <bos>é"
    assert theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] == model.processor.encode(text, start=False)


def test_compositions_without_an_outside_name_are_kept_under_ours(tmp_path):
    model = random_model({**LLAMA, "softcap": 10.0})
    save(model, tmp_path / "m")
    assert json.loads((tmp_path / "m" / "ftheta.json").read_text())["names"] == "ftheta"
    assert torch.equal(load(tmp_path / "m").architecture.theta()["embed.weight"], model.architecture.theta()["embed.weight"])


def test_unsupported_outside_fields_are_named(tmp_path):
    save(random_model(LLAMA), tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "f").mkdir()
    rope = {"rope_parameters": {"rope_type": "longrope"}}
    for change, field in (({"hidden_act": "swish2"}, "hidden_act"), ({"model_type": "mamba"}, "model_type"), (rope, "rope_type")):
        (tmp_path / "f" / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(FolderError, match=field):
            load(tmp_path / "f")


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path):
    model = random_model(GPT2)
    save(model, tmp_path / "ours")
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    made = Bytes().train([])
    made.add_tokens(["one more"])
    (tmp_path / "theirs" / "tokenizer.json").write_text(made.to_str())
    with pytest.raises(FolderError, match=r"ids up to 260, its model knows only 260 tokens"):
        load(tmp_path / "theirs")
