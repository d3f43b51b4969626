"""An engine in narrow types: what it writes is what model.predict writes in them, alone or in any batch, but where two tokens are as likely to within rounding."""

import random

import pytest
import torch

from ftheta.models.folder import load, save
from ftheta.models.model import Model
from served import TEXTS, engine_of, made

NARROW = ("bfloat16", "int8", "int4")
ROUNDING = 2**-6
"""Of a logit: some steps of bfloat16, which has 8 bits."""


def prompts() -> list[dict]:
    """Greedy and drawn texts of unlike lengths."""
    draws = random.Random(5)
    return [
        {"prompt": text, "most": draws.choice([5, 20, 40]), "seed": seed, "temperature": heat, "samples": draws.choice([1, 2])}
        for text in TEXTS for seed, heat in ((0, 0.0), (1, 0.7), (2, 1.0))
    ]


@torch.no_grad()
def ensure_likeliest(model: Model, prompt: list[int], new: list[int]) -> None:
    """A greedy text is what one pass over all of it would choose at every place, to within rounding."""
    tokens = [*prompt, *new][: model.architecture.room]                                       # type: ignore[attr-defined]
    if len(tokens) <= len(prompt):
        return
    logits = model.architecture(tokens=torch.tensor([tokens]))["logits"][0, len(prompt) - 1 : -1].float()
    scale = float(logits.abs().max())
    logits[:, model.task.limits()["banned"]] = -torch.inf                                     # type: ignore[attr-defined]
    chosen = logits.gather(1, torch.tensor(tokens[len(prompt) :])[:, None])[:, 0]
    assert float((logits.amax(-1) - chosen).max()) <= ROUNDING * scale


@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_alone_or_in_any_batch_in_any_precision(name, precision):
    model, asked = made(name).compute_in(precision), prompts()
    alone = [model.predict(prompt) for prompt in asked]
    assert len({answer.text for answer in alone}) > 10 and alone != [made(name).predict(prompt) for prompt in asked]
    differ = count = 0
    for fields in ({"page": 16, "together": 32}, {"page": 4, "together": 3, "chunk": 7}, {"page": 4, "together": 40, "chunk": 64, "reuse": False}):
        engine = engine_of(model, **fields)
        under_way = [engine.submit(prompt) for prompt in asked]
        engine.finish()
        for prompt, one, expected in zip(asked, under_way, alone, strict=True):
            answer = one.result()
            differ, count = differ + sum(a != b for a, b in zip([answer, *answer.more], [expected, *expected.more], strict=True)), count + len(one.sequences)
            if prompt["temperature"] == 0:
                ensure_likeliest(model, one.sequences[0].request.prompt, one.sequences[0].request.new)
    assert count > 80 and differ <= 0.1 * count, (differ, count)


def test_what_fits_knows_the_type():
    """Keys and values in bfloat16 take half as many bytes, so twice as many tokens fit."""
    wide, narrow, few = (engine_of(made("llama").compute_in(precision), memory=1 << 20, chunk=16) for precision in ("float32", "bfloat16", "int8"))
    assert 1.8 * wide.capacity.tokens < narrow.capacity.tokens and narrow.capacity.tokens - 100 < few.capacity.tokens <= narrow.capacity.tokens
    assert next(iter(few.runner.cache.keys.values())).dtype == torch.bfloat16


def test_an_adapter_beside_few_bits(tmp_path):
    """The text of the adapter beside weights in 8 bits is that of these weights, made whole, with the adapter merged, nearly."""
    from test_adapted import adapted

    base = adapted(tmp_path, "llama").compute_in("int8")
    engine = engine_of(base)
    plain, loud = (engine.submit({"prompt": "hello", "most": 6, "temperature": 0.0, "scores": True}, adapter=name) for name in (None, "plain"))
    engine.finish()
    assert plain.result().text == base.predict({"prompt": "hello", "most": 6, "temperature": 0.0}).text != loud.result().text
    other: Model = load(save(made("llama"), tmp_path / "again")).attach(tmp_path / "plain").use("plain")
    expected = other.predict({"prompt": "hello", "most": 6, "temperature": 0.0, "scores": True})
    assert loud.result().scores == pytest.approx(expected.scores, abs=0.3)
