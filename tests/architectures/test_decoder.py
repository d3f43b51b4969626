import math

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.blocks.context import Cache
from ftheta.core.errors import ConfigError

TINY = {"kind": "decoder", "vocab": 97, "dim": 32, "depth": 2, "context": 32, "mixer": {"kind": "attention", "heads": 4}}
VARIANTS = {
    "gpt2": TINY, "rotary": {**TINY, "positions": "rotary", "norm": "rmsnorm", "feedforward": "gated", "tie": False},
    "lstm": {**TINY, "mixer": "lstm", "positions": "none"}, "gru": {**TINY, "mixer": "gru", "positions": "none"},
    "house": {**TINY, "positions": "rotary", "tie": False, "embed_norm": True, "value_embed": True, "zero_outputs": True, "embed_std": 1.0},
}


def build(fields, double=True):
    model = DecoderConfig.parse(fields).build()
    model.initialise(0)
    if double:
        model.double()
        model.compute_dtype = torch.float64
    return model


@pytest.mark.parametrize("name", VARIANTS)
def test_first_loss_is_ln_v(name):
    model = build({**VARIANTS[name], "vocab": 1000, "dim": 64, "depth": 4}, double=False)
    tokens = torch.randint(1000, (4, 32))
    loss = model.head.loss(model(tokens=tokens)["hidden"].flatten(0, 1), tokens.roll(-1, 1).flatten()) / tokens.numel()
    assert abs(float(loss) - math.log(1000)) < 0.25


@pytest.mark.parametrize("name", VARIANTS)
def test_remembering_equals_reading_again(name):
    model, tokens, cache = build(VARIANTS[name]), torch.randint(97, (2, 12)), Cache()
    if name == "house":
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    pieces = [model(tokens=tokens[:, a:b], cache=cache)["logits"] for a, b in ((0, 5), (5, 6), (6, 12))]
    assert torch.allclose(torch.cat(pieces, 1), model(tokens=tokens)["logits"], atol=1e-10)


@pytest.mark.parametrize("name", VARIANTS)
def test_packed_equals_unpacked(name):
    model, tokens = build(VARIANTS[name]), torch.randint(97, (1, 14))
    together = model(tokens=tokens, documents=torch.tensor([[0] * 5 + [1] * 9]))["logits"]
    assert torch.allclose(together[:, :5], model(tokens=tokens[:, :5])["logits"], atol=1e-10)
    assert torch.allclose(together[:, 5:], model(tokens=tokens[:, 5:])["logits"], atol=1e-10)


def test_initial_values_do_not_depend_on_order_or_device():
    untied = {**TINY, "tie": False}                                                               # to_empty breaks ties
    first = build(untied, double=False)
    with torch.device("meta"):
        later = DecoderConfig.parse(untied).build()
    later.to_empty(device="cpu")
    torch.manual_seed(99)
    later.initialise(0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), later.parameters(), strict=True))


def test_theta_holds_tied_parameters_once_and_comes_back():
    model, other = build(TINY, double=False), build(TINY, double=False)
    other.initialise(1)
    theta = model.theta()
    assert "embed.weight" in theta and "head.weight" not in theta
    other.load_theta(theta)
    tokens = torch.randint(97, (1, 5))
    assert torch.equal(model(tokens=tokens)["logits"], other(tokens=tokens)["logits"])


def test_traits_are_derived_from_the_parts():
    assert "causal" in DecoderConfig.parse(TINY).ports().traits
    assert "causal" not in DecoderConfig.parse({**TINY, "mixer": {"kind": "attention", "heads": 4, "causal": False}}).ports().traits
    assert "bidirectional" in EncoderConfig.parse({**TINY, "kind": "encoder", "mixer": {"kind": "attention", "heads": 4, "causal": False}}).ports().traits


def test_impossible_compositions_are_refused():
    with pytest.raises(ConfigError, match="an encoder looks both ways"):
        EncoderConfig.parse({**TINY, "kind": "encoder"})
    with pytest.raises(ValueError, match="no values to add to"):
        build({**VARIANTS["lstm"], "value_embed": True})
    with pytest.raises(ValueError, match="head dimension must be even"):
        build({**VARIANTS["lstm"], "positions": "rotary"})
