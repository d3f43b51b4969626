"""Learned tokens equal PEFT's, both ways; every document of a row has its own; writing goes on as if the text were read whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from tests.models.test_adapters import SHAPES

import ftheta
from ftheta.adaptation.virtual import PrefixTuning, PromptTuning, VirtualTokens, reader_of
from ftheta.architectures.architecture import Architecture
from ftheta.architectures.decoder import Decoder, DecoderConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.blocks.context import Cache
from ftheta.core.errors import ConfigError
from ftheta.core.random import generator
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.adapters import save_adapter
from ftheta.models.model import Model

BERT = {
    "norm_place": "after", "embed_norm": True, "segments": 2, "head": "transformed", "mixer": {"kind": "attention", "heads": 4, "causal": False, "bias": True},
    "norm": {"kind": "layernorm", "eps": 1e-12}, "feedforward": {"kind": "mlp", "bias": True, "activation": "gelu"},
}
ENCODERS = {"bert": BERT, "electra": {**BERT, "embed_dim": 10}}
WAYS = {"soft prompt": PromptTuning(tokens=5), "prefix": PrefixTuning(tokens=5), "prefix with a map": PrefixTuning(tokens=5, hidden=7)}


def model(family: str = "llama", **more: Any) -> Decoder:
    sizes = {"vocab": 260, "dim": 16, "depth": 2, "context": 40}
    config = EncoderConfig.parse({**sizes, **ENCODERS[family]}) if family in ENCODERS else DecoderConfig.parse({**sizes, **SHAPES[family], **more})
    made = config.build()
    made.initialise(0)
    shaken(made, "model", 0.05)
    return made.eval()


def shaken(part: torch.nn.Module, name: str, std: float) -> None:
    for i, parameter in enumerate(p for p in part.parameters() if p.requires_grad):
        parameter.data += torch.randn(parameter.shape, generator=generator(name, i)) * std


def adapted(family: str, adapt: VirtualTokens, **more: Any) -> Decoder:
    made = model(family, **more)
    adapt.apply(made, 0)
    shaken(made, "adapter", 0.5)
    return made


def saved(family: str, folder: Path) -> Path:
    task = "fill-mask" if family == "bert" else "text-generation"
    return ftheta.save(Model(model(family), TextProcessor(Bytes().train(["abc"])), task), folder)


def theirs(family: str, base: Path) -> Any:
    kind = transformers.AutoModel if family == "bert" else transformers.AutoModelForCausalLM
    return kind.from_pretrained(base)


def states(family: str, outside: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What both sides give for every token: hidden states of encoders, logits of decoders; the outside gives the vectors' as well."""
    found = outside(input_ids=tokens)
    return (found.last_hidden_state if family == "bert" else found.logits)[:, -tokens.shape[1] :].detach()


def own(family: str, made: Architecture, tokens: torch.Tensor) -> torch.Tensor:
    return made(tokens=tokens)["hidden" if family == "bert" else "logits"].detach()


TOKENS = torch.arange(4, 28).view(2, 12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_peft_reads_what_was_learned_and_what_it_learned_is_read(family: str, way: str, tmp_path: Path) -> None:
    base = saved(family, tmp_path / "base")
    made = adapted(family, WAYS[way])
    mine = own(family, made, TOKENS)
    folder = save_adapter(made, WAYS[way], tmp_path / "adapter", str(base))
    back = ftheta.load(base).attach(folder)
    torch.testing.assert_close(own(family, back.architecture, TOKENS), own(family, model(family), TOKENS))
    torch.testing.assert_close(own(family, back.use("adapter").architecture, TOKENS), mine, atol=1e-5, rtol=1e-5)
    outside = peft.PeftModel.from_pretrained(theirs(family, base), folder).eval()
    torch.testing.assert_close(states(family, outside, TOKENS), mine, atol=1e-5, rtol=1e-5)

    sort = "FEATURE_EXTRACTION" if family == "bert" else "CAUSAL_LM"
    config = {
        "soft prompt": peft.PromptTuningConfig(task_type=sort, num_virtual_tokens=3),
        "prefix": peft.PrefixTuningConfig(task_type=sort, num_virtual_tokens=3),
        "prefix with a map": peft.PrefixTuningConfig(task_type=sort, num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=6),
    }[way]
    torch.manual_seed(1)
    outside = peft.get_peft_model(theirs(family, base), config).eval()
    wanted = states(family, outside, TOKENS)
    outside.save_pretrained(tmp_path / "from peft")
    back.attach(tmp_path / "from peft", "other").use("other")
    torch.testing.assert_close(own(family, back.architecture, TOKENS), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["llama", "gpt2", *ENCODERS])
def test_every_document_of_a_row_has_its_own(family: str, way: str) -> None:
    made = adapted(family, WAYS[way])
    documents = torch.tensor([[0] * 5 + [1] * 7, [-1] * 3 + [4] * 6 + [-1] * 3])
    found = made(tokens=TOKENS, documents=documents)["hidden"]
    for row, part in ((0, slice(0, 5)), (0, slice(5, 12)), (1, slice(3, 9))):
        torch.testing.assert_close(found[row, part], made(tokens=TOKENS[row : row + 1, part])["hidden"][0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_remembered_equals_the_whole(way: str) -> None:
    made = adapted("llama", WAYS[way], mixer={"kind": "attention", "heads": 4, "window": 6})
    for documents in (None, torch.tensor([[0] * 12, [-1] * 4 + [0] * 8])):
        cache, parts = Cache(), []
        for start, stop in ((0, 7), (7, 8), (8, 12)):
            more = {} if documents is None else {"documents": documents[:, start:stop]}
            parts.append(made(tokens=TOKENS[:, start:stop], cache=cache, **more)["hidden"])
        whole = made(tokens=TOKENS, **({} if documents is None else {"documents": documents}))["hidden"]
        seen = slice(None) if documents is None else documents >= 0
        torch.testing.assert_close(torch.cat(parts, dim=1)[seen], whole[seen], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 3])
def test_long_rows_are_looked_at_in_blocks_with_the_same_result(causal: bool, window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DecoderConfig.parse({"vocab": 60, "dim": 8, "depth": 2, "context": 40, "mixer": {"kind": "attention", "heads": 2, "causal": causal, "window": window}})
    made = config.build()
    made.initialise(0)
    WAYS["prefix"].apply(made, 0)
    shaken(made, "adapter", 0.5)
    results = []
    for whole in (10**6, 1):
        monkeypatch.setattr("ftheta.blocks.attention.WHOLE", whole)
        monkeypatch.setattr("ftheta.blocks.attend.LONG", 5)
        out = made(tokens=TOKENS)["hidden"]
        results.append([out, *torch.autograd.grad(out.square().sum(), [p for p in made.parameters() if p.requires_grad])])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_writing_with_peft_and_without(way: str, tmp_path: Path) -> None:
    base = saved("llama", tmp_path / "base")
    folder = save_adapter(adapted("llama", WAYS[way]), WAYS[way], tmp_path / "adapter", str(base))
    back = ftheta.load(base).attach(folder).use("adapter")
    prompt = back.processor.encode("abc")                                                 # type: ignore[attr-defined]
    request = {"prompt": "abc", "most": 6, "temperature": 0, "top_p": 1.0, "scores": True}
    mine = back.predict(request)
    outside = peft.PeftModel.from_pretrained(theirs("llama", base), folder).eval()
    tokens, scores = torch.tensor([prompt]), []
    banned = [i for i in map(back.processor.id, ("bos", "cls", "mask", "pad")) if i is not None and i != back.processor.id("eos")]
    for _ in range(mine.tokens):
        known = outside(input_ids=tokens).logits[0, -1].log_softmax(-1)
        chosen = int(known.index_fill(0, torch.tensor(banned, dtype=torch.long), -torch.inf).argmax())
        scores.append(float(known[chosen]))
        tokens = torch.cat([tokens, torch.tensor([[chosen]])], dim=1)
    assert mine.scores == pytest.approx(scores, abs=1e-4)
    together = back.predict([request, {**request, "prompt": "a much longer one"}])
    assert together[0].text == mine.text
    assert back.predict({**request, "most": 60}).tokens <= 60                             # beyond what the model can look at


def test_only_what_was_added_moves_and_it_can_be_taken_away() -> None:
    for adapt in WAYS.values():
        made = model("llama")
        before = {name: value.clone() for name, value in made.theta().items()}
        adapt.apply(made, 3)
        assert {name.split(".")[0] for name, p in made.named_parameters() if p.requires_grad} == {"virtual"}
        assert made.room == 35
        adapt.finish(made)
        assert made.room == 40 and made.theta().keys() == before.keys() and all(torch.equal(value, before[name]) for name, value in made.theta().items())


def test_models_they_do_not_fit() -> None:
    lstm = model("llama", mixer={"kind": "lstm"}, positions="none")
    with pytest.raises(ConfigError, match="a prefix is keys and values of attention"):
        PrefixTuning().apply(lstm, 0)
    with pytest.raises(ConfigError, match="value_embed"):
        PromptTuning().apply(model("gpt2", value_embed=True), 0)
    PromptTuning(tokens=2).apply(lstm, 0)
    reader = reader_of(lstm)
    assert reader is not None and reader.virtual is not None
    out = lstm(tokens=TOKENS)["hidden"]
    lstm_alone = lstm(tokens=TOKENS, documents=torch.zeros_like(TOKENS))["hidden"]
    torch.testing.assert_close(out, lstm_alone, atol=1e-6, rtol=1e-5)
