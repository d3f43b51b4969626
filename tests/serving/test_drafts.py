"""A draft, or what came before, guesses ahead for an engine: no text changes, alone or in any batch; only the number of passes does."""

import random

import pytest
import torch
from test_engine import asked, ensure_equal

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import UsageError
from ftheta.data.tokenizers.trained import EOS
from ftheta.models.model import Model
from served import LLAMA, MODELS, TEXTS, engine_of, made


def near(name: str, share: float) -> Model:
    """A model whose parameters are moved by a share of their size, so that it guesses right now and then."""
    model, draws = made(name), torch.Generator().manual_seed(3)
    for parameter in model.architecture.parameters():
        parameter.data += share * parameter.data.std(correction=0) * torch.randn(parameter.shape, generator=draws)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_no_text_changes(name):
    """Random mixes × batch sizes × pages so few that sequences give up theirs × drafts that are right now and then, always, and never."""
    model, draws = made(name), random.Random(name)
    prompts = asked(draws, 9)
    prompts[0] |= {"lookup": 3}
    alone = [model.predict({**prompt, "lookup": 0}) for prompt in prompts]
    shares = []
    for guessing, page, together, chunk, pages in [
        (near(name, 0.05), 16, 32, 512, None), (near(name, 0.05), 4, 3, 7, None), (made(name), 4, 6, 60, 16), (made("gpt2" if name != "gpt2" else "llama"), 4, 6, 64, None),
    ]:
        engine = engine_of(model.draft(guessing, 3), pages, page=page, together=together, chunk=chunk)
        for answer, expected in zip(engine.answer(prompts), alone, strict=True):
            ensure_equal(answer, expected)
        assert engine.pages.available == engine.pages.count and not any(engine.pages.users) and engine.guesses > 0
        shares.append(engine.right / engine.guesses)
    assert 0.02 < shares[0] < 1 and shares[2] > 0.8 > 0.3 > shares[3]


def test_right_guesses_save_passes():
    """The model itself as its draft: of 24 tokens the first is chosen after the prompt, then 1 + 4 in every pass."""
    model = made("llama")
    prompt = {"prompt": "hello", "most": 24, "temperature": 0.7, "seed": 3, "bias": {str(EOS): -1e9}}
    expected = model.predict(prompt)
    for pairs in (1, 3):
        engine, passes = engine_of(model.draft(made("llama"), 4), page=4), []
        run = engine.runner.run
        engine.runner.run = lambda pieces, run=run, passes=passes: (passes.append(len(list(pieces))), run(pieces))[1]
        assert engine.answer([prompt] * pairs) == [expected] * pairs
        assert len(passes) == 1 + -(-23 // 5) and engine.right == engine.guesses == pairs * (24 - 1 - 5)
    model.draft(None)
    assert engine_of(model).drafts is None


def test_what_came_before_is_guessed():
    model = made("llama")
    prompt = {"prompt": "ab ab ab ab", "most": 30, "temperature": 0.0, "bias": {str(EOS): -1e9}}
    engine = engine_of(model)
    assert engine.answer([{**prompt, "lookup": 4}] * 2) == [model.predict(prompt)] * 2
    assert engine.guesses > engine.right > 0                                              # greedy text of a small model comes to repeat itself
    busy = engine_of(model, together=2)
    assert busy.answer([{**prompt, "lookup": 10**6}] * 2) == [model.predict(prompt)] * 2 and busy.guesses == 0   # no more logits at a time than are planned for


def test_a_beginning_that_is_known_to_both():
    """A draft reads what the model reads, so where pages are shared its own are too: guesses are as right as before."""
    model = made("llama").draft(made("llama"), 3)
    engine = engine_of(model, page=4)
    prompt = {"prompt": TEXTS[3], "most": 6, "bias": {str(EOS): -1e9}}
    first = engine.answer([prompt])
    guesses = engine.guesses
    assert engine.right == guesses > 0
    assert engine.answer([prompt]) == first and engine.pages.hits > 0 and engine.right == engine.guesses == 2 * guesses


def test_shorter_sight_than_the_models():
    """Beyond what the draft can look at nothing is guessed."""
    short = Model(DecoderConfig.parse({**LLAMA, "context": 24, "positions": "learned"}).build(), made("llama").processor, "text-generation")
    model, prompt = made("llama"), {"prompt": "x" * 20, "most": 24, "bias": {str(EOS): -1e9}}
    expected = model.predict(prompt)
    engine = engine_of(model.draft(short, 2), page=4)
    assert engine.answer([prompt]) == [expected] and 0 < engine.guesses <= 6


def test_the_plan_knows_the_draft():
    model = made("llama")
    plain = engine_of(model, memory=4 << 20).capacity
    both = engine_of(model.draft(made("llama"), 4), memory=4 << 20).capacity
    assert both.tokens < 0.6 * plain.tokens and both.bytes <= 4 << 20
    state = Model(DecoderConfig.parse({"vocab": 260, "dim": 16, "depth": 1, "positions": "none", "mixer": "lstm"}).build(), model.processor, "text-generation")
    for one, other in ((model, state), (state, made("llama"))):
        with pytest.raises(UsageError, match="draft: an engine guesses ahead where pages can hold both"):
            engine_of(one.draft(other))
