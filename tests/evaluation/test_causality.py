"""The probe proves what every architecture of tokens declares, and catches blocks that lie."""

import pytest
import torch
from torch import Tensor

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.decoder import Decoder, DecoderConfig
from ftheta.blocks import FEEDFORWARDS, MIXERS, NORMS, POSITIONS
from ftheta.blocks.attention import Attention
from ftheta.blocks.context import Context
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.norm import LayerNorm
from ftheta.blocks.position import NoPositions
from ftheta.core.config import Slot, fill
from ftheta.core.errors import UsageError
from ftheta.evaluation.probes.causality import by_token, prove
from ftheta.evaluation.probes.small import shrink, small
from ftheta.lifecycle.checking import VARIANTS

CAUSAL = {"causal"}


def config(**fields):
    return Slot(ARCHITECTURES).parse({"vocab": 300, **fields})


def decoder(**fields):
    return config(kind="decoder", **fields)


def catalogue():
    """Every architecture of the catalogue with its defaults."""
    for name in ARCHITECTURES.names():
        cls = ARCHITECTURES.load(name)
        built = cls.parse(fill(cls, {"kind": name, **VARIANTS.get(name, [{}])[0]}, {}, 8))
        if "tokens" in built.ports().takes and by_token(built.ports()):
            yield name, built


@pytest.mark.parametrize(("name", "built"), list(catalogue()), ids=lambda value: value if isinstance(value, str) else "")
def test_the_catalogue_keeps_its_promises(name, built):
    proof = prove(built)
    assert proof.holds, str(proof)
    assert proof.causal == ("causal" in built.ports().traits)


MIXING = {
    "attention": {"kind": "attention", "heads": 2}, "grouped": {"kind": "attention", "heads": 4, "kv_heads": 2, "qk_norm": {"kind": "rmsnorm"}},
    "one head": {"kind": "attention", "heads": 1}, "lstm": {"kind": "lstm", "hidden": 700}, "gru": "gru",
    "window": {"kind": "attention", "heads": 2, "window": 3, "head_dim": 6},
    "both ways": {"kind": "attention", "heads": 2, "causal": False}, "ssm": {"kind": "ssm", "heads": 6, "groups": 3, "kernel": 3},
    "hybrid": [{"kind": "ssm"}, {"kind": "ssm", "state": 9}, {"kind": "attention", "heads": 2, "window": 3}, "gru", {"kind": "attention", "heads": 2, "kv_heads": 1}],
    "mostly backwards": ["ssm", "lstm", {"kind": "attention", "heads": 2, "causal": False}], "lstm both ways": {"kind": "lstm", "bidirectional": True},
    "gru both ways": {"kind": "gru", "bidirectional": True},
}
BOTH = ("both ways", "mostly backwards", "lstm both ways", "gru both ways")
PLACING = ("learned", "none", "relative", "rotary", "sinusoidal")


@pytest.mark.parametrize("mixer", MIXING)
@pytest.mark.parametrize("positions", PLACING)
def test_composed_models(mixer, positions):
    if mixer in ("lstm", "gru", "ssm", "lstm both ways", "gru both ways") and positions in ("rotary", "relative"):
        pytest.skip("these positions are those of attention heads")
    if mixer in ("hybrid", "mostly backwards") and positions == "relative":
        pytest.skip("relative positions need as many heads in every layer")
    for feedforward, norm in (("mlp", "layernorm"), ("gated", "rmsnorm")):
        built = decoder(mixer=MIXING[mixer], positions=positions, feedforward=feedforward, norm=norm, embed_norm=True, zero_outputs=True, softcap=20.0, tie=False)
        proof = prove(built)
        assert proof.holds, str(proof)
        assert proof.causal == (mixer not in BOTH)
        assert proof.response > 0.1 and proof.across == 0.0 and proof.moved is not None and proof.moved < 1e-14
        if mixer in BOTH:
            assert proof.earliest == 0 and proof.leak > 1e-3


@pytest.mark.parametrize("mixer", ["grouped", "lstm", "window"])
def test_experts_round_as_their_groups_do_and_leak_nothing(mixer, monkeypatch):
    built = decoder(mixer=MIXING[mixer], feedforward={"kind": "moe", "experts": 32, "active": 4})
    proof = prove(built)
    assert proof.holds and proof.causal and proof.across == 0.0, str(proof)
    monkeypatch.setattr(Attention, "forward", lambda self, x, context: x + 1e-9 * x.mean(1, keepdim=True))
    assert not prove(decoder(mixer=MIXING["grouped"], feedforward=built.feedforward.dump())).holds


def test_encoders_see_both_ways():
    for positions in PLACING:
        proof = prove(config(kind="encoder", positions=positions, mixer={"kind": "attention", "heads": 2, "causal": False}))
        assert proof.holds and not proof.causal and proof.earliest == 0, str(proof)


@pytest.mark.parametrize("mixer", [name for name in MIXING if name not in BOTH])
def test_answers_to_a_source_are_causal_and_see_only_their_own(mixer, monkeypatch):
    heads = {"kind": "attention", "heads": 2}
    for side in ({}, {"mixer": {**heads, "causal": False}, "feedforward": "gated"}):
        built = config(kind="encoder_decoder", mixer=MIXING[mixer], positions="learned", cross=heads, encoder=side)
        proof = prove(built)
        assert proof.holds and proof.causal and proof.across == 0.0, str(proof)
    monkeypatch.setattr(Context, "across", lambda self, dtype: (None, None))
    assert "see each other" in str(prove(built))


class Peeking(Attention):
    """Says it is causal and looks one token ahead."""

    @staticmethod
    def traits(arguments):
        return {"causal"}

    def forward(self, x: Tensor, context: Context) -> Tensor:
        ahead = torch.cat([x[:, 1:], x[:, -1:]], dim=1)
        return super().forward(x + 0.01 * ahead, context)


class Averaging(Mixer):
    """Says it is causal and takes the mean over all time."""

    def __init__(self, dim: int, *, share: float = 1e-9):
        super().__init__()
        self.share = share

    @staticmethod
    def traits(arguments):
        return {"causal"}

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return x.cumsum(1) + self.share * x.mean(1, keepdim=True)


class NormOverTime(LayerNorm):
    """Normalises over time too, as a norm with its dimensions mixed up does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(1, keepdim=True)) if x.ndim == 3 else super().forward(x)


class CountingFromTheEnd(NoPositions):
    """Every token knows a little of the last one, as positions counted from the end do."""

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        return hidden * (1 + 1e-6 * hidden[:, -1:].sum(-1, keepdim=True).tanh())


class Blind(Mixer):
    """Does not look back, which no causal model is asked to do, but forgets its own input too."""

    def __init__(self, dim: int):
        super().__init__()

    @staticmethod
    def traits(arguments):
        return {"causal"}

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return torch.zeros_like(x)


class AcrossDocuments(Attention):
    """Forgets the documents."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return super().forward(x, Context(context.positions, None, context.cache, context.rotary))


LEAKS = [
    (MIXERS, Peeking, "mixer", {"heads": 2}, "knows later inputs"), (MIXERS, Averaging, "mixer", {}, "knows later inputs"),
    (NORMS, NormOverTime, "norm", {}, "knows later inputs"), (POSITIONS, CountingFromTheEnd, "positions", {}, "knows later inputs"),
    (MIXERS, AcrossDocuments, "mixer", {"heads": 2}, "see each other"),
]


@pytest.mark.parametrize(("sort", "block", "slot", "arguments", "said"), LEAKS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_block_that_leaks_is_caught(sort, block, slot, arguments, said, monkeypatch):
    monkeypatch.setitem(sort.entries, "leaky", f"{__name__}:{block.__name__}")
    fields = {"mixer": {"kind": "attention", "heads": 2}, "positions": "learned", slot: {"kind": "leaky", **arguments}}
    built = decoder(**fields)
    assert built.ports().traits >= CAUSAL
    proof = prove(built)
    assert not proof.holds and any(said in line for line in proof.contradictions), str(proof)
    assert "CONTRADICTION" in str(proof)
    if said == "knows later inputs":
        assert not proof.causal and proof.leak > 0 and proof.earliest is not None


def test_a_mixer_that_leaks_deep_inside_a_model_of_many_layers_is_caught(monkeypatch):
    monkeypatch.setitem(MIXERS.entries, "leaky", f"{__name__}:Averaging")
    assert not prove(decoder(depth=40, mixer={"kind": "leaky", "share": 1e-12}, zero_outputs=True)).causal


def test_the_earliest_leak_is_named(monkeypatch):
    real = Decoder.encoded

    def trunk(self, tokens, context, added=None):
        hidden = real(self, tokens, context, added)
        mixed = hidden.clone()
        mixed[:, 4] = mixed[:, 4] + hidden[:, -1]
        return mixed

    monkeypatch.setattr(Decoder, "encoded", trunk)
    proof = prove(decoder(mixer={"kind": "attention", "heads": 2}))
    assert proof.earliest == 4 and not proof.holds


def test_positions_that_do_not_start_again_are_caught(monkeypatch):
    monkeypatch.setattr("ftheta.architectures.decoder.document_positions", lambda documents: torch.arange(documents.shape[1]).expand_as(documents))
    proof = prove(decoder(mixer={"kind": "attention", "heads": 2}, positions="learned"))
    assert not proof.holds and "start again" in " ".join(proof.contradictions)


def test_a_false_declaration_in_either_direction_is_caught(monkeypatch):
    monkeypatch.setattr(Attention, "traits", staticmethod(lambda arguments: {"causal"}))
    assert "declared causal" in str(prove(decoder(mixer={"kind": "attention", "heads": 2, "causal": False})))
    monkeypatch.setattr(Attention, "traits", staticmethod(lambda arguments: set()))
    assert "not declared causal" in str(prove(decoder(mixer={"kind": "attention", "heads": 2})))


def test_a_model_that_sees_nothing_proves_nothing(monkeypatch):
    monkeypatch.setitem(MIXERS.entries, "leaky", f"{__name__}:Blind")
    monkeypatch.setattr(Decoder, "encoded", lambda self, tokens, context, added=None: torch.ones(*tokens.shape, self.config.dim, dtype=torch.float64))
    assert "nothing was shown" in str(prove(decoder(mixer={"kind": "leaky"})))


def test_the_small_copy_has_the_same_parts():
    built = decoder(
        dim=768, depth=12, context=1024, positions="rotary", dropout=0.3, feedforward={"kind": "gated", "hidden": 3000},
        mixer={"kind": "attention", "heads": 12, "kv_heads": 3, "qk_norm": {"kind": "rmsnorm", "weight": False}},
    )
    copy = shrink(built).dump()
    assert (copy["dim"], copy["depth"], copy["vocab"], copy["context"], copy["dropout"]) == (48, 2, 32, 16, 0.0)
    assert copy["feedforward"] == {"kind": "gated", "hidden": 16, "activation": "silu", "bias": False}
    assert copy["mixer"] == built.dump()["mixer"]
    model = small(built)
    assert all(parameter.dtype == torch.float64 and bool((parameter != 0).all()) for parameter in model.parameters())


def test_the_small_copy_has_every_sort_of_layer():
    copy = shrink(decoder(depth=12, mixer=["ssm", "ssm", "lstm", {"kind": "attention", "heads": 2}], positions="none"))
    assert isinstance(copy, DecoderConfig) and [part.kind for part in copy.mixers] == ["ssm", "ssm", "lstm", "attention"]


def test_other_inputs_are_refused():
    with pytest.raises(UsageError, match="needs a model of tokens"):
        prove(Slot(ARCHITECTURES).parse({"kind": "actor_critic", "features": 4, "actions": 2}))


def test_feedforwards_are_all_covered():
    assert set(FEEDFORWARDS.names()) == {"mlp", "gated", "moe"} and set(MIXERS.names()) == {"attention", "lstm", "gru", "ssm"} and set(POSITIONS.names()) == set(PLACING)
