"""Encoder-decoders: sizes as published, documents and padding that change nothing, memory that changes nothing, mixers of any kind."""

import math
from importlib import resources
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from ftheta.architectures.architecture import call
from ftheta.architectures.encoder_decoder import EncoderDecoderConfig
from ftheta.blocks.context import Cache
from ftheta.core.contract import PADDING
from ftheta.evaluation.probes.small import scatter, small
from ftheta.models.folder import expressed
from ftheta.objectives.language import NextToken
from ftheta.objectives.objective import Phase

PRESETS = Path(str(resources.files("ftheta.architectures"))) / "presets" / "encoder_decoder"
PUBLISHED = {
    "t5-small": ("t5", 60_506_624, 0), "t5-v1_1-base": ("t5", 247_577_856, 0), "bart-base": ("bart", 139_420_416, 50_265), "marian-en-de": ("marian", 73_886_208, 58_101),
}
"""Preset → family, parameters as published, and the biases of tokens, which are not counted there."""
HEADS = {"kind": "attention", "heads": 2}
MIXING = {
    "attention": {"mixer": HEADS}, "relative": {"mixer": HEADS, "positions": "relative"}, "rotary": {"mixer": {**HEADS, "kv_heads": 1}, "positions": "rotary"},
    "lstm": {"mixer": "lstm", "positions": "none", "cross": HEADS}, "narrow": {"embed_dim": 12, "head": "transformed"},
    "window": {"mixer": {**HEADS, "window": 3}, "norm_place": "after", "scale_embed": True},
    "sides": {"mixer": "gru", "positions": "sinusoidal", "cross": {**HEADS, "kv_heads": 1}, "encoder": {"depth": 1, "mixer": {**HEADS, "causal": False}}},
}


def preset(name, **fields):
    return EncoderDecoderConfig.parse({**fields, **YAML(typ="safe").load((PRESETS / f"{name}.yaml").read_text())})


def tiny(name):
    return small(EncoderDecoderConfig.parse({"vocab": 32, "dim": 16, "depth": 2, "context": 16, **MIXING[name]}))


def rows(count, length, seed=0):
    return torch.randint(32, (count, length), generator=torch.Generator().manual_seed(seed))


def test_every_preset_of_somebody_else_is_counted_here():
    assert {path.stem for path in PRESETS.glob("*.yaml")} == {*PUBLISHED, "small"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_published_and_counted_by_their_classes(name):
    transformers = pytest.importorskip("transformers")
    family, count, biases = PUBLISHED[name]
    config = preset(name)
    outside = expressed(config)
    assert outside is not None and outside[0] == family
    with torch.device("meta"):
        model = config.build()
        theirs = getattr(transformers, outside[1]["architectures"][0])(transformers.AutoConfig.for_model(**outside[1]))
    assert sum(parameter.numel() for parameter in model.parameters()) == count + biases
    assert f"{count:,}" in (PRESETS / f"{name}.yaml").read_text().splitlines()[0]
    untied = 0 if config.tie else config.vocab * config.dim                               # they count it only once it is read from a file
    computed = sum(parameter.numel() for key, parameter in theirs.named_parameters() if "embed_positions" in key and family == "marian")
    assert sum(parameter.numel() for parameter in theirs.parameters()) - computed + untied == count
    assert {key for line in outside[2] for key in line.ours} == model.theta().keys()


@pytest.mark.parametrize("name", ["small", "t5-small"])
def test_a_fresh_model_knows_nothing(name):
    config = preset(name, vocab=1000).replace(vocab=1000, depth=2, dropout=0.0)
    model = config.build()
    model.initialise(0)
    tokens = torch.randint(1000, (4, 40), generator=torch.Generator().manual_seed(0))
    loss = NextToken().loss(model, lambda batch, **more: call(model, batch, **more), {"tokens": tokens, "source": tokens.flip(1)}, Phase("main"))
    assert abs(float(loss.total.detach()) / float(loss.count) - math.log(1000)) < 0.2


@pytest.mark.parametrize("name", MIXING)
@torch.no_grad()
def test_remembering_gives_what_a_whole_pass_gives(name):
    model, source, tokens = tiny(name), rows(3, 7), rows(3, 9, 1)
    real = torch.tensor([7, 4, 2])
    documents = torch.where(torch.arange(7) < real[:, None], 0, PADDING)
    whole = model(tokens=tokens, source=source, source_documents=documents)["logits"]
    cache, found = Cache(), []
    for start, stop in ((0, 4), (4, 5), (5, 9)):
        given = {} if start else {"source": source, "source_documents": documents}        # afterwards it is remembered
        found.append(model(tokens=tokens[:, start:stop], cache=cache, **given)["logits"])
    torch.testing.assert_close(torch.cat(found, dim=1), whole, rtol=0, atol=1e-11)
    cache, order = Cache(), torch.tensor([2, 0])
    model(tokens=tokens[:, :4], source=source, source_documents=documents, cache=cache)
    cache.select(order)
    torch.testing.assert_close(model(tokens=tokens[order, 4:], cache=cache)["logits"], whole[order, 4:], rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", MIXING)
def test_pairs_packed_into_a_row_are_pairs_by_themselves(name):
    model, pieces = tiny(name), [(rows(1, 4), rows(1, 6, 1)), (rows(1, 3, 2), rows(1, 5, 3)), (rows(1, 5, 4), rows(1, 3, 5))]

    def gradients(batches):
        model.zero_grad()
        total = sum(NextToken().loss(model, lambda batch, **more: call(model, batch, **more), batch, Phase("main")).total for batch in batches)
        total.backward()
        return {key: parameter.grad.clone() for key, parameter in model.named_parameters() if parameter.grad is not None}

    def numbers(which):
        return torch.cat([torch.full_like(piece[which], i) for i, piece in enumerate(pieces)] + [torch.full((1, 2), PADDING)], dim=1)

    padding = torch.zeros(1, 2, dtype=torch.long)
    packed = {
        "source": torch.cat([*(source for source, _ in pieces), padding], dim=1), "source_documents": numbers(0),
        "tokens": torch.cat([*(tokens for _, tokens in pieces), padding], dim=1), "documents": numbers(1),
    }
    alone, together = gradients([{"source": source, "tokens": tokens} for source, tokens in pieces]), gradients([packed])
    assert alone.keys() == together.keys()
    for key, value in alone.items():
        assert (together[key] - value).norm() <= 1e-11 * (1 + value.norm()), key


@torch.no_grad()
def test_an_answer_without_a_source_sees_none():
    model, tokens = tiny("attention"), rows(1, 6)
    number = torch.tensor([[0, 0, 0, 1, 1, 1]])
    found = model(tokens=tokens, documents=number, source=rows(1, 4, 1), source_documents=torch.zeros(1, 4, dtype=torch.long))["logits"]
    other = model(tokens=tokens, documents=number, source=rows(1, 4, 2), source_documents=torch.zeros(1, 4, dtype=torch.long))["logits"]
    assert torch.isfinite(found).all() and torch.equal(found[:, 3:], other[:, 3:]) and not torch.equal(found[:, :3], other[:, :3])


def test_a_source_is_needed_once():
    with pytest.raises(ValueError, match="needs a source"):
        tiny("attention")(tokens=rows(1, 3))


def test_experts_on_both_sides_add_to_the_loss():
    config = EncoderDecoderConfig.parse({"vocab": 32, "dim": 16, "depth": 1, "context": 8, "mixer": HEADS, "feedforward": {"kind": "moe", "hidden": 8, "experts": 4}})
    model, dense = scatter(config.build(), 0), config.replace(encoder={"feedforward": "mlp"})
    batch = {"source": rows(2, 4), "tokens": rows(2, 6, 1)}
    both, one = call(model, batch)["auxiliary"], call(scatter(dense.build(), 0), batch)["auxiliary"]
    assert config.ports().gives["auxiliary"] == "loss B" and (both > one).all() and (one > 0).all()
    only_encoder = config.replace(feedforward="mlp", encoder={"feedforward": config.feedforward.dump()})
    assert "auxiliary" in only_encoder.ports().gives and (call(scatter(only_encoder.build(), 0), batch)["auxiliary"] > 0).all()
