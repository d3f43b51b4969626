import math

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.blocks.context import Cache, Context
from ftheta.core.errors import ConfigError

TINY = {"kind": "decoder", "vocab": 97, "dim": 32, "depth": 2, "context": 32, "mixer": {"kind": "attention", "heads": 4}}
VARIANTS = {
    "gpt2": TINY, "rotary": {**TINY, "positions": "rotary", "norm": "rmsnorm", "feedforward": "gated", "tie": False},
    "lstm": {**TINY, "mixer": "lstm", "positions": "none"}, "gru": {**TINY, "mixer": "gru", "positions": "none"},
    "ssm": {**TINY, "mixer": {"kind": "ssm", "state": 6}, "positions": "none", "feedforward": None},
    "hybrid": {
        **TINY, "depth": 5, "positions": "rotary", "value_embed": True, "tie": False,
        "mixer": [{"kind": "ssm", "heads": 4}, {"kind": "attention", "heads": 4, "window": 4}, {"kind": "attention", "heads": 4, "kv_heads": 2}, {"kind": "gru"}],
    },
    "narrow": {**TINY, "embed_dim": 12, "head": "transformed", "embed_norm": True, "scale_embed": True},
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
    if name in ("house", "hybrid"):
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
    with pytest.raises(ConfigError, match=r"table is 12 wide \(embed_dim\), hidden states 32: choose head 'transformed'"):
        DecoderConfig.parse({**TINY, "embed_dim": 12})
    with pytest.raises(ValueError, match="head dimension must be even"):
        build({**VARIANTS["lstm"], "positions": "rotary"})


def test_layers_take_their_mixers_in_turn():
    ssm, attention = {"kind": "ssm", "heads": 4}, {"kind": "attention", "heads": 4}
    config = DecoderConfig.parse({**TINY, "depth": 5, "positions": "none", "mixer": [ssm, ssm, attention]})
    assert [part.kind for part in config.mixers] == ["ssm", "ssm", "attention", "ssm", "ssm"]
    assert DecoderConfig.parse(config.dump()) == config and config.dump()["mixer"][2]["heads"] == 4
    assert "causal" in config.ports().traits
    assert "causal" not in DecoderConfig.parse({**config.dump(), "mixer": [ssm, {**attention, "causal": False}]}).ports().traits
    model = build(config.dump(), double=False)
    assert [type(layer.mix.inner).__name__ for layer in model.layers] == ["SSM", "SSM", "Attention", "SSM", "SSM"]


@torch.no_grad()
def test_a_narrow_table_is_a_product_of_two_matrices():
    narrow = build({**TINY, "positions": "none", "embed_dim": 12, "tie": False})
    wide = build({**TINY, "positions": "none", "tie": False})
    for parameter in narrow.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    values = {name: value for name, value in narrow.theta().items() if not name.startswith("embed")}
    wide.load_theta({**values, "embed.weight": narrow.embed.weight @ narrow.embed_dense.weight.t() + narrow.embed_dense.bias})
    tokens = torch.randint(97, (2, 9))
    assert torch.allclose(narrow(tokens=tokens)["logits"], wide(tokens=tokens)["logits"], atol=1e-12)


def test_a_list_of_one_sort_is_that_sort():
    one = DecoderConfig.parse(TINY)
    assert DecoderConfig.parse({**TINY, "mixer": [TINY["mixer"]] * 3}) == one
    assert DecoderConfig.parse({**TINY, "mixer": [TINY["mixer"]]}).dump() == one.dump()


@pytest.mark.parametrize(("mixer", "said"), [
    ([], "mixer: expected one mixer at least"), ([{"kind": "attention"}, {"kind": "atention"}], "mixer.1.kind: .*did you mean 'attention'"),
    ([{"kind": "ssm", "haeds": 2}], "mixer.0.haeds: no such field; did you mean 'heads'"),
])
def test_a_wrong_list_of_mixers_is_named(mixer, said):
    with pytest.raises(ConfigError, match=said):
        DecoderConfig.parse({**TINY, "mixer": mixer})


def test_heads_that_positions_cannot_all_turn():
    heads = [{"kind": "attention", "heads": 4}, {"kind": "attention", "heads": 8}]
    with pytest.raises(ValueError, match=r"rotary positions need the same head_dim.* 4, 8"):
        build({**TINY, "positions": "rotary", "mixer": heads})
    build({**TINY, "mixer": heads})


def test_an_encoder_may_be_recurrent_both_ways():
    fields = {**TINY, "kind": "encoder", "positions": "none", "mixer": {"kind": "lstm", "bidirectional": True}}
    assert "bidirectional" in EncoderConfig.parse(fields).ports().traits
    with pytest.raises(ConfigError, match="looks both ways"):
        EncoderConfig.parse({**fields, "mixer": "lstm"})


def test_a_plain_stack_is_one_layer_after_the_other():
    """With nothing added and no norm, two LSTM layers are torch's own LSTM of two layers, where the maps after them are the identity."""
    config = DecoderConfig.parse({
        "vocab": 11, "dim": 6, "depth": 2, "context": 9, "positions": "none", "norm": "none", "residual": False, "feedforward": None, "mixer": "lstm", "std": 0.5,
    })
    model = config.build()
    model.initialise(0)
    theirs = torch.nn.LSTM(6, 6, num_layers=2, batch_first=True)
    for i in range(2):
        mixer = model.layers[i].mix.inner
        mixer.output.weight.data = torch.eye(6)
        theirs.load_state_dict({**theirs.state_dict(), **{name.replace("l0", f"l{i}"): value for name, value in mixer.rnn.state_dict().items()}})
    tokens = torch.randint(11, (3, 9))
    torch.testing.assert_close(model(tokens=tokens)["hidden"], theirs(model.embed(tokens))[0])


def test_a_plain_stack_keeps_its_norms_and_cannot_begin_at_zero():
    for place in ("before", "after"):
        model = DecoderConfig.parse({**TINY, "depth": 1, "norm_place": place, "residual": False, "mixer": {"kind": "attention", "heads": 2}}).build()
        model.initialise(0)
        mix, x = model.layers[0].mix, torch.randn(1, 4, model.config.dim)
        context = Context(torch.arange(4)[None], None, None)
        expected = mix.inner(mix.before(x), context) if place == "before" else mix.after(mix.inner(x, context))
        assert torch.equal(mix(x, context), expected)
    with pytest.raises(ConfigError, match=r"zero_outputs: .*residual: false"):
        DecoderConfig.parse({**TINY, "zero_outputs": True, "residual": False})
