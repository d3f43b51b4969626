"""Tables of vocabularies in 8 bits: logits, embeddings and losses are those of the table the codes stand for; it is kept once."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import Architecture
from ftheta.blocks.few_bits import TABLES, few_bits, keep_in_few_bits, tables
from ftheta.blocks.head import Head
from ftheta.blocks.quantised import Quantisation, QuantisedTable
from ftheta.core.errors import ConfigError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.folder import load, save
from ftheta.models.model import Model
from tiny import GPT2, LLAMA

SIDE = {"vocab": 260, "dim": 32, "depth": 1, "context": 48}
BERT = {**SIDE, "head": "transformed", "mixer": {"kind": "attention", "heads": 4, "causal": False}}
SHAPES = {
    "tied": ("decoder", GPT2), "untied": ("decoder", LLAMA), "capped": ("decoder", {**GPT2, "softcap": 5.0}), "transformed": ("encoder", BERT),
    "two sides": ("encoder_decoder", {**SIDE, "mixer": {"kind": "attention", "heads": 4}, "encoder": {"depth": 1}}),
}


def pair(name: str) -> tuple[Architecture, Architecture]:
    """A model whose tables have 8 bits, and one with the tables that these stand for as real numbers."""
    kind, fields = SHAPES[name]
    plain = ARCHITECTURES.load(kind).parse(fields).build().eval()
    plain.initialise(0)
    torch.manual_seed(0)
    for parameter in plain.parameters():
        nn.init.normal_(parameter.data, std=0.2)
    kept = copy.deepcopy(plain)
    keep_in_few_bits(kept, TABLES, list(tables(kept)))
    for head in tables(plain).values():
        head.weight.data.copy_(QuantisedTable(head.weight).weight)
    return kept, plain


def read(model: Architecture) -> torch.Tensor:
    tokens = torch.randint(260, (2, 11), generator=torch.Generator().manual_seed(1))
    more = {"source": tokens.flip(1)} if "source" in model.config.ports().takes else {}
    return model(tokens=tokens, **more)["logits"]


@torch.no_grad()
@pytest.mark.parametrize("name", SHAPES)
def test_what_is_computed_is_what_the_codes_stand_for(name: str) -> None:
    kept, plain = pair(name)
    torch.testing.assert_close(read(kept), read(plain), atol=1e-5, rtol=1e-5)
    assert not any(isinstance(part, nn.Embedding) and part.weight.shape[0] == 260 for part in kept.modules()) or name == "untied"
    (said,) = few_bits(kept)
    assert said["how"]["bits"] == 8 and all(isinstance(kept.get_submodule(head), Head) for head in said["maps"])
    assert sum(value.shape[:1] == (260,) and value.dtype == torch.int8 for value in kept.theta().values()) == 1


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_and_their_gradients(smoothing: float) -> None:
    kept, plain = pair("tied")
    hidden = torch.randn(7, 32, requires_grad=True)
    targets = torch.arange(7)
    found, wanted = (model.head.loss(hidden, targets, smoothing=smoothing) for model in (kept, plain))     # type: ignore[union-attr, operator]
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(loss, hidden)[0] for loss in (found, wanted)))


@torch.no_grad()
@pytest.mark.parametrize("name", ["tied", "untied"])
def test_saved_opened_and_used_in_bfloat16(name: str, tmp_path) -> None:
    kept, plain = pair(name)
    keep_in_few_bits(kept, Quantisation(bits=4))
    opened = load(save(Model(kept, TextProcessor(Bytes().train([])), "text-generation"), tmp_path / "m"))
    assert torch.equal(read(opened.architecture), read(kept)) and few_bits(opened.architecture) == few_bits(kept)
    kept, plain = pair(name)
    model = Model(kept, TextProcessor(Bytes().train([])), "text-generation").compute_in("bfloat16")
    tokens = torch.tensor([[5]])
    few, wanted = model.architecture(tokens=tokens)["logits"], plain(tokens=tokens)["logits"]
    assert float((few - wanted).norm() / wanted.norm()) < 0.02
    assert len(model.generate("ab", most=5, seed=1).encode()) > 0


def test_only_maps_and_heads_are_kept_so() -> None:
    kept, _ = pair("tied")
    with pytest.raises(ConfigError, match="'norm' is no linear map"):
        keep_in_few_bits(kept, Quantisation(bits=8), ["norm"])
    with pytest.raises(ConfigError, match="'head' is no linear map"):
        keep_in_few_bits(pair("untied")[1], Quantisation(bits=4), ["head"])
