"""Llama's relatives: equal to transformers in logits and greedy text, loaded there with no convert step, and back bit-equal."""

import json
import logging

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.errors import FolderError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.inference.generate import Generation
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.interop.huggingface import llama_shaped, mamba2
from ftheta.models.folder import expressed, load, save
from ftheta.models.model import Model

transformers = pytest.importorskip("transformers")

BASE = {
    "kind": "decoder", "vocab": 260, "dim": 48, "depth": 2, "context": 64, "positions": "rotary", "norm": {"kind": "rmsnorm", "eps": 1e-5},
    "mixer": {"kind": "attention", "heads": 6, "kv_heads": 2}, "feedforward": {"kind": "gated", "hidden": 80}, "tie": False,
}
NORM = {"kind": "rmsnorm", "eps": 1e-5}


def attention(**fields):
    return {"kind": "attention", "heads": 6, "kv_heads": 2, **fields}


def rotary(kind, **fields):
    return {"kind": "rotary", "base": 500.0, "scaling": {"kind": kind, **fields}}


def ssm(fields):
    return {"context": 1 << 20, "positions": "none", "feedforward": None, "mixer": {"kind": "ssm", **fields}}


CASES = {
    "llama-biases": ("LlamaForCausalLM", {"mixer": attention(bias=True), "feedforward": {"kind": "gated", "hidden": 80, "bias": True}}),
    "llama-head_dim": ("LlamaForCausalLM", {"mixer": attention(head_dim=10), "tie": True}),
    "llama-gelu": ("LlamaForCausalLM", {"feedforward": {"kind": "gated", "hidden": 72, "activation": "gelu_tanh"}}),
    "llama-linear": ("LlamaForCausalLM", {"positions": rotary("linear", factor=3.0)}),
    "llama-dynamic": ("LlamaForCausalLM", {"context": 24, "positions": rotary("dynamic", factor=2.5)}),
    "llama-yarn": ("LlamaForCausalLM", {"positions": rotary("yarn", factor=4.0, original=16, fast=3.0, slow=0.5)}),
    "llama-yarn-factor": ("LlamaForCausalLM", {"positions": rotary("yarn", factor=4.0, attention=1.3, truncate=False)}),
    "llama-llama3": ("LlamaForCausalLM", {"positions": rotary("llama3", factor=8.0, original=32, low=1.0, high=4.0)}),
    "mistral": ("MistralForCausalLM", {"mixer": attention(window=7)}),
    "mistral-odd": ("MistralForCausalLM", {"dim": 50, "mixer": {"kind": "attention", "heads": 7, "head_dim": 6, "kv_heads": 1, "window": 12}, "tie": True}),
    "mistral-two": ("MistralForCausalLM", {"mixer": attention(window=2)}),
    "qwen2": ("Qwen2ForCausalLM", {"mixer": attention(bias=True, output_bias=False), "tie": True}),
    "qwen2-window": ("Qwen2ForCausalLM", {"mixer": {"kind": "attention", "heads": 3, "bias": True, "output_bias": False, "window": 9}}),
    "qwen3": ("Qwen3ForCausalLM", {"mixer": attention(head_dim=12, qk_norm=NORM), "tie": True}),
    "qwen3-biases": ("Qwen3ForCausalLM", {"dim": 40, "mixer": {"kind": "attention", "heads": 5, "head_dim": 14, "bias": True, "qk_norm": NORM, "window": 11}}),
    "mixtral": ("MixtralForCausalLM", {"feedforward": {"kind": "moe", "experts": 5, "active": 2, "hidden": 40}}),
    "mixtral-window": ("MixtralForCausalLM", {
        "mixer": attention(window=6, head_dim=10), "feedforward": {"kind": "moe", "experts": 3, "active": 1, "hidden": 24}, "tie": True,
    }),
    "qwen3_moe": ("Qwen3MoeForCausalLM", {
        "mixer": attention(head_dim=10, qk_norm=NORM), "feedforward": {"kind": "moe", "experts": 7, "active": 3, "hidden": 24, "normalise": False},
    }),
    "qwen3_moe-window": ("Qwen3MoeForCausalLM", {
        "mixer": attention(bias=True, qk_norm=NORM, window=8), "feedforward": {"kind": "moe", "experts": 4, "active": 4, "hidden": 24, "normalise": True},
    }),
    "mamba2": ("Mamba2ForCausalLM", ssm({"heads": 6, "groups": 2, "state": 8})),
    "mamba2-odd": ("Mamba2ForCausalLM", {**ssm({"heads": 4, "head_dim": 36, "state": 5, "kernel": 3, "kernel_bias": False}), "tie": True}),
}
"""Name → class there, and what differs from BASE."""


def config(name):
    return DecoderConfig.parse({**BASE, **CASES[name][1]})


def random_model(fields, task="text-generation") -> Model:
    architecture = fields.build()
    torch.manual_seed(0)
    for parameter in architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Model(architecture, TextProcessor(Bytes().train([])), task)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Our model, theirs loaded from our folder, and what they noticed while loading; made once for each case."""
    made = {}

    def pair(name):
        if name not in made:
            model, folder = random_model(config(name)), tmp_path_factory.mktemp(name) / "m"
            save(model, folder)
            assert json.loads((folder / "config.json").read_text())["architectures"] == [CASES[name][0]]
            heard: list[str] = []
            handler = logging.Handler(logging.WARNING)
            handler.emit = lambda record: heard.append(record.getMessage())               # type: ignore[method-assign]
            logger = logging.getLogger("transformers")
            logger.addHandler(handler)
            theirs, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
            logger.removeHandler(handler)
            made[name] = model, theirs.eval(), report, heard, folder
        return made[name]

    return pair


def close(ours, theirs):
    return (ours - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_transformers_loads_our_folder_with_equal_logits(pairs, name):
    model, theirs, report, heard, _ = pairs(name)
    assert type(theirs).__name__ == CASES[name][0]
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"] and not heard
    tokens = torch.randint(260, (2, 40), generator=torch.Generator().manual_seed(1))
    assert close(model.architecture(tokens=tokens)["logits"], theirs(tokens).logits)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", [name for name in CASES if "dynamic" not in name])       # there, padding counts as length
@torch.no_grad()
def test_padding_is_not_seen(pairs, name, side):
    model, theirs, *_ = pairs(name)
    draws = torch.Generator().manual_seed(2)
    tokens, mask = torch.randint(260, (2, 30), generator=draws), torch.ones(2, 30, dtype=torch.long)
    mask[1, :11] = 0
    mask = mask if side == "left" else mask.flip(1)
    ours = model.architecture(tokens=tokens, documents=mask - 1)["logits"]
    assert close(ours[mask.bool()], theirs(tokens, attention_mask=mask).logits[mask.bool()])


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_greedy_text_is_theirs_with_a_cache(pairs, name):
    model, theirs, *_ = pairs(name)
    prompt = torch.randint(4, 260, (1, 12), generator=torch.Generator().manual_seed(3))
    greedy = {"do_sample": False, "top_k": None, "top_p": None, "temperature": None}
    expected = theirs.generate(prompt, max_new_tokens=20, min_new_tokens=20, eos_token_id=None, pad_token_id=0, **greedy)
    request = Request(prompt[0].tolist(), Sampling(temperature=0), most=20)
    generation = Generation(model.architecture, [request], longest=None, end=None)
    while request.finish is None:
        generation.step()
    assert request.new == expected[0, 12:].tolist()


@pytest.mark.parametrize("name", CASES)
def test_their_folder_loads_here_and_round_trips_bit_equal(pairs, name, tmp_path):
    model, theirs, _, _, folder = pairs(name)
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    back = load(tmp_path / "theirs").architecture
    said = mamba2.said if name.startswith("mamba2") else llama_shaped.said
    assert isinstance(back.config, DecoderConfig) and said(back.config) == said(config(name))
    ours, again = model.architecture.theta(), back.theta()
    assert ours.keys() == again.keys() and all(torch.equal(ours[key], again[key]) for key in ours)


READING = [("llama-biases", 1), ("llama-head_dim", 5), ("mistral", 3), ("mistral-odd", 1), ("qwen2", 1), ("qwen2-window", 4), ("qwen3", 1), ("qwen3-biases", 2),
           ("mixtral", 1), ("qwen3_moe", 3)]
"""Trunk, and how many numbers are read from its last token."""


@pytest.mark.parametrize(("name", "labels"), READING)
@torch.no_grad()
def test_reward_models_and_classifiers_are_theirs(name, labels, tmp_path, caplog):
    readout = {"kind": "regress" if labels == 1 else "classify", "pooling": "last", "dense": None, "bias": False}
    fields = HeadedConfig.parse({"kind": "headed", "trunk": {**BASE, **CASES[name][1]}, "readout": readout, **({"classes": labels} if labels > 1 else {})})
    model = random_model(fields, "text-ranking" if labels == 1 else "text-classification")
    save(model, tmp_path / "ours")
    logging.getLogger("transformers").propagate = True
    theirs, report = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert type(theirs).__name__ == CASES[name][0].replace("ForCausalLM", "ForSequenceClassification")
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"] and not caplog.records
    draws = torch.Generator().manual_seed(2)
    tokens, mask = torch.randint(4, 260, (3, 30), generator=draws), torch.ones(3, 30, dtype=torch.long)
    mask[1, :11] = mask[2, 17:] = 0
    tokens[mask == 0] = theirs.config.pad_token_id
    found = model.architecture(tokens=tokens, documents=mask - 1)
    expected = theirs.eval()(tokens, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)).logits
    assert expected.shape == (3, labels) and expected.std() > 0.01
    assert close(found["value"][:, None] if labels == 1 else found["logits"], expected)
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer.json").write_bytes((tmp_path / "ours" / "tokenizer.json").read_bytes())
    back = load(tmp_path / "theirs")
    assert llama_shaped.said(back.architecture.config) == llama_shaped.said(fields) and back.task.name == model.task.name
    ours, again = model.architecture.theta(), back.architecture.theta()
    assert ours.keys() == again.keys() and all(torch.equal(ours[key], again[key]) for key in ours)


@pytest.mark.parametrize("change", [
    {"readout": {"kind": "regress", "pooling": "last", "dense": None}}, {"readout": {"kind": "regress", "pooling": "mean", "dense": None, "bias": False}},
    {"readout": {"kind": "regress", "pooling": "last", "dense": "tanh", "bias": False}}, {"readout": {"kind": "tag"}},
    {"trunk": {**BASE, "head": "linear"}, "readout": {"kind": "regress", "pooling": "last", "dense": None, "bias": False}},
], ids=str)
def test_other_readings_are_kept_under_our_names(change):
    config = HeadedConfig.parse({"kind": "headed", "trunk": BASE, **change})
    assert expressed(config) is None


@pytest.mark.parametrize("change", [
    {"mixer": attention(head_dim=10, causal=False)}, {"mixer": attention(window=5, bias=True)}, {"softcap": 3.0}, {"embed_norm": True}, {"dropout": 0.1},
    {"mixer": attention(qk_norm={"kind": "rmsnorm", "eps": 1e-3})}, {"norm": {"kind": "rmsnorm", "weight": False}}, {"norm": "none"},
    {"feedforward": {"kind": "moe", "experts": 3, "normalise": False}},
    {"context": 24, "positions": rotary("dynamic", factor=2.0, original=8)},
], ids=str)
def test_compositions_nobody_has_a_name_for_are_kept_under_ours(change, tmp_path):
    fields = {**BASE, **change}
    model = random_model(DecoderConfig.parse(fields))
    save(model, tmp_path / "m")
    assert json.loads((tmp_path / "m" / "ftheta.json").read_text())["names"] == "ftheta"
    assert load(tmp_path / "m").architecture.config == model.architecture.config


@pytest.mark.parametrize("name", CASES)
def test_nobody_has_a_name_for_plain_stacks(name):
    assert expressed(config(name)) is not None and expressed(config(name).replace(residual=False)) is None


@pytest.mark.parametrize(("name", "change", "field"), [
    ("llama-biases", {"hidden_act": "silly"}, "hidden_act.*did you mean 'silu'"),
    ("llama-biases", {"quantization_config": {"quant_method": "fp8"}}, "quantization_config"),
    ("llama-biases", {"rope_parameters": {"rope_type": "longrope"}}, "rope_parameters.rope_type"),
    ("llama-biases", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "mscale": 0.7}}, "rope_parameters.mscale"),
    ("llama-biases", {"rope_parameters": {"rope_type": "linear"}}, "rope_parameters.factor is missing"),
    ("llama-biases", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    ("qwen2-window", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    ("qwen2-window", {"layer_types": None, "max_window_layers": 1}, "max_window_layers"),
    ("qwen3", {"model_type": "qwen9"}, "model_type"),
    ("mixtral", {"router_jitter_noise": 0.1}, "router_jitter_noise"),
    ("qwen3_moe", {"decoder_sparse_step": 2}, "decoder_sparse_step"),
    ("qwen3_moe", {"mlp_only_layers": [0]}, "mlp_only_layers"),
])
def test_unsupported_fields_are_named(pairs, name, change, field, tmp_path):
    theirs = json.loads((pairs(name)[4] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**theirs, **change}))
    with pytest.raises(FolderError, match=field):
        load(tmp_path)


def test_older_configs_mean_what_they_meant(pairs, tmp_path):
    """Before transformers 5: `rope_theta` beside `rope_scaling`, whose kind is called `type`; absent fields mean the family's defaults."""
    model, _, _, _, folder = pairs("llama-linear")
    theirs = json.loads((folder / "config.json").read_text())
    for name in ("rope_parameters", "head_dim", "attention_bias", "mlp_bias", "hidden_act", "tie_word_embeddings"):
        del theirs[name]
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**theirs, "rope_scaling": {"type": "linear", "factor": 3.0}}))
    assert load(tmp_path).architecture.config == model.architecture.config
