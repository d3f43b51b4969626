"""Whatever the model would like to say, what it writes has the form asked for."""

import json
import re
import sys

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import MissingExtraError, UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.subword import BPE
from ftheta.data.tokenizers.trained import ByteBPE, Bytes
from ftheta.models.model import Model

CORPUS = ["year 2024-11 and {\"name\": \"some one\", \"age\": 12} of the 中文 words, and other words to learn from"] * 9


def made(config=None):
    tokenizer = (config or Bytes()).train(CORPUS)
    small = {"dim": 16, "depth": 1, "context": 64, "mixer": {"kind": "attention", "heads": 2}}
    architecture = DecoderConfig.parse({"vocab": tokenizer.get_vocab_size(), **small}).build()
    torch.manual_seed(0)
    for parameter in architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Model(architecture, TextProcessor(tokenizer), "text-generation")


@pytest.mark.parametrize("config", [Bytes(), ByteBPE(vocab=280), BPE(vocab=290, coverage=0.9)], ids=lambda config: config.kind)
def test_text_of_a_form(config):
    pytest.importorskip("llguidance")
    model = made(config)
    expression = r"[0-9]{4}-(0[1-9]|中文)"
    asked = [{"prompt": "year ", "regex": expression, "seed": seed, "temperature": 2.0, "lookup": 3} for seed in range(6)]
    answers = model.predict(asked)
    assert all(re.fullmatch(expression, answer.text) and answer.finish == "stop" for answer in answers)
    assert len({answer.text for answer in answers}) > 3
    assert model.predict(asked[2]) == answers[2]
    schema = {
        "type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 999}, "kind": {"enum": ["a", "b"]}}, "required": ["age", "kind"],
        "additionalProperties": False,
    }
    found = json.loads(model.predict({"prompt": "x", "json_schema": schema, "most": 60}).text)
    assert 0 <= found["age"] <= 999 and found["kind"] in ("a", "b") and len(found) == 2


def test_what_cannot_be_asked():
    pytest.importorskip("llguidance")
    for fields, message in (({"regex": "(a"}, "regex: "), ({"json_schema": {"type": "nothing"}}, "json_schema: "), ({"regex": "a", "beams": 2}, "only one of them")):
        with pytest.raises(UsageError, match=message):
            made().predict({"prompt": "x", **fields})


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ftheta\[constrained\]'"):
        made().predict({"prompt": "x", "regex": "a"})
