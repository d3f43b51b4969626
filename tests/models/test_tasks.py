import itertools
import json

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.core.errors import ConfigError, UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.model import Model

TINY = {"vocab": 260, "dim": 16, "depth": 1, "context": 16, "std": 0.5}


def text_model(seed=0, **fields):
    architecture = DecoderConfig.parse({**TINY, "mixer": {"kind": "attention", "heads": 2}, **fields}).build()
    architecture.initialise(seed)
    return Model(architecture, TextProcessor(Bytes().train([])), "text-generation")


def test_same_seed_same_text_alone_or_beside_others():
    model = text_model()
    one = model.generate("ab", most=12, seed=3)
    assert one == model.generate("ab", most=12, seed=3) != model.generate("ab", most=12, seed=4)
    answers = model.predict([{"prompt": "xy", "most": 5}, {"prompt": "ab", "most": 12, "seed": 3}])
    assert answers[1].text == one and answers[1].tokens == 12 and answers[1].finish == "length"


def test_greedy_is_the_likeliest_token_each_time():
    model = text_model()
    tokens = model.processor.encode("hello")
    for _ in range(6):
        logits = model.architecture(tokens=torch.tensor([tokens]))["logits"][0, -1]
        logits[[0, 1, 3]] = float("-inf")
        tokens.append(int(logits.argmax()))
    ours = model.predict({"prompt": "hello", "temperature": 0, "most": 6})
    assert model.processor.decode(tokens[6:]) == ours.text


def test_longer_than_the_context_goes_on(caplog):
    assert len(text_model().predict({"prompt": "a long prompt " * 9, "most": 40, "temperature": 1.0}).text) > 0
    (heard,) = [record.getMessage() for record in caplog.records]
    assert "the prompt has 127 tokens and the model looks at 16" in heard
    text_model().predict({"prompt": "short", "most": 40})
    assert len(caplog.records) == 1


def test_stop_strings_and_streams_hold_together():
    model = text_model()
    whole = model.generate("ab", most=30, seed=1)
    assert "".join(model.stream({"prompt": "ab", "most": 30, "seed": 1})) == whole
    stop = whole[7:9]
    cut = model.generate("ab", most=30, seed=1, stop=(stop,))
    assert cut == whole[: whole.index(stop)]


def test_no_broken_characters_while_streaming(monkeypatch):
    model = text_model()
    ids = model.processor.encode("中文é!", start=False)
    monkeypatch.setattr("ftheta.inference.generate.choose", lambda logits, sampling, position, sample: ids[position])
    pieces = list(model.stream({"prompt": "x", "most": len(ids)}))
    assert pieces == ["中", "文", "é", "!"]


def test_bad_inputs_name_the_field():
    model = text_model()
    with pytest.raises(ConfigError, match=r"input: temprature: no such field; did you mean 'temperature'"):
        model.predict({"prompt": "x", "temprature": 1})
    with pytest.raises(ConfigError, match="input 1: most"):
        model.predict([{"prompt": "x"}, {"prompt": "x", "most": 0}])


def test_fill_mask():
    architecture = EncoderConfig.parse({**TINY, "kind": "encoder", "mixer": {"kind": "attention", "heads": 2, "causal": False}}).build()
    architecture.initialise(0)
    model = Model(architecture, TextProcessor(Bytes().train([])), "fill-mask")
    answer = model.predict("ab<mask>d<mask>")
    assert len(answer.fillings) == 2 and all(len(row) == 5 for row in answer.fillings)
    assert all(a[1] >= b[1] for row in answer.fillings for a, b in itertools.pairwise(row))
    with pytest.raises(UsageError, match="<mask>"):
        model.predict("nothing hidden")
    with pytest.raises(UsageError, match="not text-generation"):
        list(model.stream({"prompt": "x"}))


def test_schemas_describe_every_field():
    for cls in (text_model().task.input, text_model().task.output):
        assert all("description" in entry for entry in json.loads(json.dumps(cls.model_json_schema()))["properties"].values())
