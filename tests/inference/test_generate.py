"""What is written: equal to transformers' where that says what is right, and the same alone, in any batch, streamed or guessed ahead."""

import itertools

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import EOS, Bytes
from ftheta.inference.beam import beam_search
from ftheta.inference.generate import Generation
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.models.folder import save
from ftheta.models.model import Model
from tiny import GPT2, LLAMA

LSTM = {"vocab": 260, "dim": 16, "depth": 1, "context": 48, "positions": "none", "mixer": "lstm"}
SSM = {"kind": "ssm", "heads": 4, "state": 4}
WINDOW = {**LLAMA, "mixer": {"kind": "attention", "heads": 4, "window": 12}}
HYBRID = {**LLAMA, "depth": 3, "mixer": [SSM, {"kind": "attention", "heads": 4, "window": 9}, {"kind": "attention", "heads": 4}]}
MODELS = {"gpt2": GPT2, "llama": LLAMA, "lstm": LSTM, "ssm": {**LSTM, "mixer": SSM, "feedforward": None}, "window": WINDOW, "hybrid": HYBRID}
PROMPTS = ["a", "hello there", "中文 and 🙂", "a much longer prompt, of forty-one letters", "ab ab ab ab"]


def made(fields, seed=0) -> Model:
    architecture = DecoderConfig.parse(fields).build()
    torch.manual_seed(seed)
    for parameter in architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Model(architecture, TextProcessor(Bytes().train([])), "text-generation")


def tokens_of(model, requests, longest=48, end=None):
    generation = Generation(model.architecture, requests, longest=longest, end=end)
    while generation.step():
        pass
    return [request.new for request in requests]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def pair(request, tmp_path_factory):
    """Our model and the same one in transformers."""
    transformers = pytest.importorskip("transformers")
    model = made(MODELS[request.param])
    folder = save(model, tmp_path_factory.mktemp("pair") / "m")
    return model, transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def reference(other, start, **fields):
    start = torch.tensor([start])
    found = other.generate(start, attention_mask=torch.ones_like(start), do_sample=False, pad_token_id=3, eos_token_id=EOS, bos_token_id=0, **fields)
    rows = [row.tolist()[start.shape[1] :] for row in found]
    return [row[: row.index(EOS)] if EOS in row else row for row in rows]


@pytest.mark.parametrize("fields, named", [
    ({}, {}), ({"repetition": 1.4}, {"repetition_penalty": 1.4}), ({"no_repeat": 2}, {"no_repeat_ngram_size": 2}), ({"least": 12}, {"min_new_tokens": 12}),
], ids=str)
def test_greedy_is_transformers(pair, fields, named):
    model, other = pair
    for prompt in PROMPTS[:3]:
        start = model.processor.encode(prompt)
        found = tokens_of(model, [Request(start, Sampling(temperature=0, **fields), 24)], end=EOS)
        assert found == reference(other, start, max_new_tokens=24, **named)


@pytest.mark.parametrize("beams, penalty", [(2, 1.0), (4, 1.0), (4, 0.0), (3, 2.0), (5, -1.0)])
def test_beams_are_transformers(pair, beams, penalty):
    model, other = pair
    for prompt, boost in itertools.product(PROMPTS[:3], (0.0, 6.0)):                      # with a likelier end some beams finish early
        start = model.processor.encode(prompt)
        request = Request(start, Sampling(bias={EOS: boost} if boost else {}), 12)
        found = [beam.tokens for beam in beam_search(model.architecture, request, beams, penalty, longest=48, end=EOS)]
        named = {"sequence_bias": [[[EOS], boost]]} if boost else {}
        assert found == reference(other, start, max_new_tokens=12, num_beams=beams, num_return_sequences=beams, length_penalty=penalty, **named)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_alone_or_in_any_batch(name, temperature):
    """Prompts of unlike lengths, some past the model's window, with penalties and a likely end that makes rows finish apart."""
    model = made(MODELS[name])
    longest = None if name in ("lstm", "ssm") else 48

    def ask(numbers):
        settings = [Sampling(temperature=temperature, seed=i, repetition=1.1, bias={EOS: 3.0} if i % 2 else {}) for i in numbers]
        return [Request(model.processor.encode(PROMPTS[i]), setting, 30 + i) for i, setting in zip(numbers, settings, strict=True)]

    alone = [tokens_of(model, ask([i]), longest, EOS)[0] for i in range(5)]
    assert len(alone[4]) == 34 and len({tuple(row) for row in alone}) >= 4
    for order in ([0, 1, 2, 3, 4], [4, 2, 0], [3, 0], [1, 1, 4]):
        assert tokens_of(model, ask(order), longest, EOS) == [alone[i] for i in order]


@pytest.mark.parametrize("name", MODELS)
def test_guessing_ahead_changes_nothing(name, monkeypatch):
    model = made(MODELS[name])
    calls = []
    forward = model.architecture.forward
    monkeypatch.setattr(model.architecture, "forward", lambda **inputs: (calls.append(inputs["tokens"].shape[1]), forward(**inputs))[1])
    for prompt, temperature in itertools.product(PROMPTS, (0.0, 0.7)):
        start = model.processor.encode(prompt)
        setting = Sampling(temperature=temperature, bias={97: 2.0, 98: 2.0})
        plain = tokens_of(model, [Request(start, setting, 40)])
        slow, calls[:] = len(calls), []
        assert tokens_of(model, [Request(start, setting, 40, lookup=5)]) == plain
        fast, calls[:] = len(calls), []
        assert fast <= slow or name not in ("gpt2", "llama")                              # others read anew what followed a wrong guess
    start = model.processor.encode("ab")
    one = Sampling(temperature=0, bias={97: 1e4})                                         # only ever "a": every guess is right
    tokens_of(model, [Request(start, one, 24, lookup=5)])
    assert len(calls) <= 8


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("drafted", ["gpt2", "lstm", "same"])
def test_a_draft_changes_nothing(name, drafted):
    model = made(MODELS[name])
    guessing = model if drafted == "same" else made(MODELS[drafted], seed=1)
    for prompt, temperature in zip(PROMPTS[:3], (0.0, 0.7, 0.0), strict=True):
        asked = {"prompt": prompt, "most": 60, "temperature": temperature, "seed": 2, "bias": {97: 2.0, 98: 2.0}}     # beyond the 48 tokens it looks at
        plain = "".join(model.stream(asked))
        guessed = "".join(model.draft(guessing, 3).stream(asked))
        again = "".join(model.stream({**asked, "lookup": 4}))
        model.draft(None)
        assert guessed == again == plain


def test_a_draft_that_is_right_saves_passes_and_a_wrong_one_is_refused(monkeypatch):
    model = made(MODELS["llama"])
    same = made(MODELS["llama"])
    calls = []
    forward = model.architecture.forward
    monkeypatch.setattr(model.architecture, "forward", lambda **inputs: (calls.append(inputs["tokens"].shape[1]), forward(**inputs))[1])
    model.draft(same, 4).generate("ab", most=24, seed=5)
    assert calls == [3 + 4, 5, 5, 5, 4]                                                   # every guess is right, sampled or not
    with pytest.raises(UsageError, match="other tokens"):
        other = made(MODELS["llama"])
        other.processor.tokenizer.add_tokens(["more"])
        model.draft(other)


def test_samples_scores_and_streams():
    model = made(GPT2)
    asked = {"prompt": "ab", "most": 12, "seed": 3, "temperature": 1.0}
    many = model.predict({**asked, "samples": 3, "scores": True})
    assert many.text == model.generate("ab", most=12, seed=3, temperature=1.0) == "".join(model.stream(asked))
    texts = [many.text, *(sample.text for sample in many.more)]
    assert len(set(texts)) == 3 and many.tokens == 12
    start = model.processor.encode("ab")
    new = ids_of(model, asked)
    logits = model.architecture(tokens=torch.tensor([[*start, *new]]))["logits"][0].log_softmax(-1)
    expected = [float(logits[len(start) + i - 1, token]) for i, token in enumerate(new)]
    torch.testing.assert_close(torch.tensor(many.scores), torch.tensor(expected), atol=1e-4, rtol=1e-4)


def ids_of(model, asked):
    request = model.task.request(model.parse(asked, None), 0)
    generation = model.task.generation([request])
    while generation.step():
        pass
    return request.new


def test_beams_through_predict():
    model = made(GPT2)
    best = model.predict({"prompt": "ab", "most": 8, "beams": 3, "samples": 2, "scores": True})
    assert len(best.more) == 1 and best.scores[0] >= best.more[0].scores[0]
    assert list(model.stream({"prompt": "ab", "most": 8, "beams": 3})) == [best.text]
    with pytest.raises(UsageError, match="more than the 48 tokens"):
        model.predict({"prompt": "ab", "most": 60, "beams": 2})


def test_stop_strings_end_only_their_own_row():
    model = made(GPT2)
    whole = [model.generate(prompt, most=20, seed=1) for prompt in PROMPTS]
    stops = [(text[6:8],) if i % 2 else () for i, text in enumerate(whole)]
    answers = model.predict([{"prompt": prompt, "most": 20, "seed": 1, "stop": stop} for prompt, stop in zip(PROMPTS, stops, strict=True)])
    for text, stop, answer in zip(whole, stops, answers, strict=True):
        assert answer.text == (text[: text.index(stop[0])] if stop else text) and answer.finish == ("stop" if stop else answer.finish)


def test_what_cannot_be_asked():
    with pytest.raises(UsageError, match="bias: 260 is no token id"):
        made(GPT2).predict({"prompt": "a", "bias": {260: 1.0}})


def test_how_long_a_model_looks_follows_from_its_parts():
    longest = {name: made(fields).task.limits()["longest"] for name, fields in MODELS.items()}
    assert longest == {"gpt2": 48, "llama": 48, "lstm": None, "ssm": None, "window": 48, "hybrid": 48}
    assert made({**LSTM, "positions": "learned"}).task.limits()["longest"] == 48
