"""The same text alone or in any batch, however prompts are cut, whoever gives up pages; nothing is lost, and nothing is taken that is not there."""

import itertools
import random

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.blocks.attention import Attention
from ftheta.core.errors import UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import EOS, Bytes
from ftheta.models.folder import save
from ftheta.models.model import Model
from ftheta.serving import runner
from ftheta.serving.engine import Engine, QueueFull
from ftheta.serving.pages import Pages
from ftheta.serving.settings import Settings
from served import LLAMA, MODELS, TEXTS, engine_of, made


def asked(draws: random.Random, count: int) -> list[dict]:
    """Prompts of unlike lengths with unlike settings, some past the model's window, some alike at the beginning."""
    return [
        {
            "prompt": draws.choice(TEXTS), "most": draws.choice([1, 5, 20, 60]), "seed": draws.randrange(4), "temperature": draws.choice([0.0, 0.7, 1.0]),
            "repetition": draws.choice([1.0, 1.2]), "bias": {str(EOS): draws.choice([-5.0, 1.0])}, "top_k": draws.choice([None, 20]),
            "stop": draws.choice([[], ["a"]]), "samples": draws.choice([1, 1, 2]), "scores": True,
        }
        for _ in range(count)
    ]


def ensure_equal(found, expected) -> None:
    for one, other in zip([found, *found.more], [expected, *expected.more], strict=True):
        assert (one.text, one.tokens, one.finish) == (other.text, other.tokens, other.finish)
        torch.testing.assert_close(torch.tensor(one.scores), torch.tensor(other.scores), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("apart", [runner.APART, 0])
@pytest.mark.parametrize("name", MODELS)
def test_alone_or_in_any_batch(name, apart, monkeypatch):
    """Random mixes × batch sizes × pieces of prompts × pages so few that sequences give up theirs; each copied out of the pages or looked at in them."""
    looked = []
    monkeypatch.setattr(runner, "APART", apart)
    monkeypatch.setattr(Attention, "over_runs", lambda *given, plain=Attention.over_runs: looked.append(1) or plain(*given))
    model, draws = made(name), random.Random(name)
    prompts = asked(draws, 9)
    alone = [model.predict(prompt) for prompt in prompts]
    assert len({answer.text for answer in alone}) > 4
    set_back = shared = 0
    for page, together, chunk, pages, reuse in [
        (16, 32, 512, None, True), (4, 3, 7, None, True), (1, 8, 16, 60, True), (4, 6, 10, 16, True), (4, 6, 10, 14, False), (48, 5, 64, 2, True),
    ]:
        engine = engine_of(model, pages, page=page, together=together, chunk=chunk, reuse=reuse)
        order = draws.sample(range(len(prompts)), len(prompts))
        for number, answer in zip(order, engine.answer([prompts[number] for number in order]), strict=True):
            ensure_equal(answer, alone[number])
        assert engine.pages.available == engine.pages.count and not any(engine.pages.users) and not engine.asked
        assert not engine.pages.wishes and not engine.pages.wanted
        assert reuse or not engine.pages.hits
        set_back, shared = set_back + engine.scheduler.preemptions, shared + engine.pages.hits
    assert set_back > 0 and shared > 0
    assert bool(looked) == (apart == 0 and name not in ("relative", "prefix"))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_greedy_is_transformers(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = made(name)
    other = transformers.AutoModelForCausalLM.from_pretrained(save(model, tmp_path / "m")).eval()
    engine = engine_of(model, page=4, together=3, chunk=9)
    found = engine.answer([{"prompt": text, "most": 20, "temperature": 0.0, "bias": {str(i): -1e9 for i in (0, 2, 3)}} for text in TEXTS[:5]])
    for text, answer in zip(TEXTS, found, strict=False):
        start = torch.tensor([model.processor.encode(text)])
        tokens = other.generate(
            start, attention_mask=torch.ones_like(start), do_sample=False, max_new_tokens=min(20, 48 - start.shape[1]), eos_token_id=EOS, pad_token_id=3,
            sequence_bias=[[[i], -1e9] for i in (0, 2, 3)],
        )[0, start.shape[1] :].tolist()
        tokens = tokens[: tokens.index(EOS)] if EOS in tokens else tokens
        assert answer.text.startswith(model.processor.decode_after(start[0].tolist(), tokens).rstrip("�"))


def test_a_beginning_is_read_once():
    model = made("llama")
    engine = engine_of(model, page=4)
    prompt = {"prompt": TEXTS[3], "most": 4}
    length = len(model.processor.encode(TEXTS[3]))
    found = (length - 1) // 4 * 4
    first = engine.answer([prompt])
    assert engine.pages.hits == 0
    assert engine.answer([prompt]) == first and engine.pages.hits == found
    said = engine.submit(prompt)
    engine.finish()
    again = engine.submit({"prompt": "x", "most": 1})
    again.sequences[0].request.window[:] = said.sequences[0].request.window               # what was written is known too
    engine.finish()
    assert engine.pages.hits == 2 * found + (length + 3 - 1) // 4 * 4


def test_pages_used_longest_ago_are_forgotten_first():
    model = made("llama")
    engine = engine_of(model, 12, page=4)
    for text in ("x" * 15, "y" * 15, "x" * 15, "z" * 15):                                 # four pages each, three of them found again
        engine.answer([{"prompt": text, "most": 1}])
    assert engine.pages.hits == 12
    engine.answer([{"prompt": "w" * 15, "most": 1}])                                      # in place of y, which was used longest ago
    hits = engine.pages.hits
    engine.answer([{"prompt": "x" * 15, "most": 1}])
    assert engine.pages.hits == hits + 12
    engine.answer([{"prompt": "y" * 15, "most": 1}])
    assert engine.pages.hits == hits + 12


@pytest.mark.parametrize("reuse", [False, True])
def test_pages_of_a_sequence_lie_together(reuse):
    """Of sequences that grow beside each other, also when what earlier ones left is everywhere; none is lost."""
    draws, pages = random.Random(0), Pages(200, 16, reuse)
    growing, together = [], []
    for number in range(400):
        growing.append((number, draws.randint(3, 12), []))
        while len(growing) > 9 or (number == 399 and growing):
            for one in draws.sample(growing, len(growing)):
                name, length, mine = one
                mine.append(pages.take(mine[-1] if mine else None, length - len(mine)))
                if len(mine) == length:
                    together.append(mine == list(range(mine[0], mine[0] + length)))
                    for place, page in enumerate(mine[:-1]):
                        pages.publish(page, b"%d %d" % (name, place))
                    pages.release(mine)
                    growing.remove(one)
    assert len(together) == 400 and sum(together) >= 380
    assert pages.available == 200 and not any(pages.users) and not pages.wanted and not pages.wishes


def test_all_pages_can_be_taken_though_some_are_wanted():
    pages = Pages(10, 16)
    first = pages.take(None, 10)
    others = [pages.take() for _ in range(9)]
    assert sorted([first, *others]) == list(range(10)) and pages.available == 0
    with pytest.raises(IndexError):
        pages.take(first, 9)
    pages.release([first])
    pages.release(others)
    assert pages.available == 10 and not pages.wanted


def test_long_prompts_do_not_hold_up_others():
    """While a prompt of 40 tokens is read in pieces of 8, a text that is being written gets a token a step."""
    model = made("llama")
    engine = engine_of(model, chunk=8, page=4)
    short = engine.submit({"prompt": "a", "most": 30, "bias": {str(EOS): -1e9}})
    engine.step()
    engine.submit({"prompt": "x" * 40, "most": 5})
    for step in range(6):
        engine.step()
        assert len(short.sequences[0].request.new) == 2 + step


def test_clients_take_turns():
    model = made("llama")
    engine = engine_of(model, together=1)
    ended = []
    clock = itertools.count()
    engine.clock = lambda: next(clock)
    crowd = [engine.submit({"prompt": "a", "most": 2, "seed": seed}, client="many") for seed in range(6)]
    single = engine.submit({"prompt": "a", "most": 2}, client="one")
    engine.finish()
    ended = sorted([*crowd, single], key=lambda each: each.sequences[0].ended)
    assert ended.index(single) == 1 and [each for each in ended if each is not single] == crowd


def test_cancelling_frees_pages_at_once():
    model = made("llama")
    engine = engine_of(model, page=4, reuse=False)
    kept, gone = (engine.submit({"prompt": text, "most": 30, "bias": {str(EOS): -1e9}}) for text in ("hello", "hello there"))
    waits = engine_of(model, together=1)
    for _ in range(5):
        engine.step()
    free, mine = engine.pages.available, len(gone.sequences[0].pages)
    engine.cancel(gone)
    assert mine > 0 and engine.pages.available == free + mine
    assert gone.result(0).finish == "cancelled" and gone.result(0).tokens == 5
    engine.cancel(gone)                                                                   # twice is once
    engine.finish()
    assert kept.result(0) == model.predict({"prompt": "hello", "most": 30, "bias": {str(EOS): -1e9}}) and engine.pages.available == engine.pages.count
    first, second = (waits.submit({"prompt": "hello", "most": 3}) for _ in range(2))
    waits.step()
    waits.cancel(second)                                                                  # while it waits
    waits.finish()
    assert second.result(0).tokens == 0 and first.result(0).tokens == 3 and not waits.scheduler.waiting


def test_cancelled_while_the_model_runs():
    """A step that is under way neither writes more of it nor makes known what is in its pages."""
    model = made("llama")
    engine = engine_of(model, page=4)
    gone = engine.submit({"prompt": "hello there", "most": 30})
    run = engine.runner.run

    def run_and_cancel(work):
        found = run(work)
        engine.cancel(gone)
        return found

    engine.runner.run = run_and_cancel
    engine.step()
    assert gone.result(0).tokens == 0 and engine.pages.available == engine.pages.count and not engine.pages.known


def test_deadlines():
    model = made("llama")
    now = [0.0]
    engine = Engine(model, Settings(together=1), clock=lambda: now[0])
    late, waits, patient = (engine.submit({"prompt": "a", "most": 9, "bias": {str(EOS): -1e9}}, seconds=seconds) for seconds in (1.0, 1.0, None))
    for _ in range(3):
        engine.step()
    now[0] = 1.0
    engine.finish()
    assert late.result(0).finish == waits.result(0).finish == "deadline" and (late.result(0).tokens, waits.result(0).tokens) == (3, 0)
    assert late.result(0).text == model.predict({"prompt": "a", "most": 3, "bias": {str(EOS): -1e9}}).text and patient.result(0).tokens == 9


def test_a_full_queue_refuses():
    model = made("llama")
    engine = engine_of(model, together=2, queue=3)
    for _ in range(5):
        engine.submit({"prompt": "a", "most": 3})
    with pytest.raises(QueueFull, match="3 sequences wait already and 1 more are asked for; 3 may wait at most") as refused:
        engine.submit({"prompt": "a", "most": 3})
    assert refused.value.after > 0
    with pytest.raises(UsageError, match="samples: at most 5 can be written and wait"):   # before so many are made
        engine.submit({"prompt": "a", "samples": 10**400})
    engine.finish()
    engine.submit({"prompt": "a", "most": 3})
    many = engine_of(model, together=2, queue=3, queue_tokens=30)
    many.submit({"prompt": "a" * 20})
    with pytest.raises(QueueFull):
        many.submit({"prompt": "a" * 20})


def test_what_never_fits_is_refused_with_the_numbers():
    engine = engine_of(made("llama"), 5, page=4)
    with pytest.raises(UsageError, match=r"most: the prompt's 12 tokens and 20 new ones are more than the 20 tokens there is room for"):
        engine.submit({"prompt": "hello there", "most": 20})
    assert engine.answer([{"prompt": "hello there", "most": 9, "bias": {str(EOS): -1e9}}])[0].tokens == 9
    with pytest.raises(UsageError, match="memory: 1,000 bytes hold no page"):
        Engine(made("llama"), Settings(memory=1000))
    assert str(engine.capacity).startswith("20 tokens fit in ")


def test_streams_are_the_whole_text():
    model, heard = made("gpt2"), {}
    engine = engine_of(model, together=4)
    prompts = [{"prompt": text, "most": 40, "temperature": 1.0, "seed": seed, "samples": 2, "stop": ["a"] * (seed % 2)} for seed, text in enumerate(TEXTS)]
    found = [engine.submit(prompt, listen=lambda sample, piece, i=i: heard.setdefault((i, sample), []).append(piece)) for i, prompt in enumerate(prompts)]
    engine.finish()
    for i, (prompt, each) in enumerate(zip(prompts, found, strict=True)):
        answer = model.predict(prompt)
        for sample, one in enumerate([answer, *answer.more]):
            pieces = heard.get((i, sample), [])
            assert "".join(pieces) == one.text == [each.result(0), *each.result(0).more][sample].text
    assert max(map(len, heard.values())) > 10


def test_no_broken_characters():
    pytest.importorskip("llguidance")
    model, heard = made("gpt2"), []
    engine = engine_of(model)
    asked = engine.submit({"prompt": "a", "most": 30, "regex": "[中文🙂é]{8}"}, listen=lambda sample, piece: heard.append(piece))
    engine.finish()
    assert "".join(heard) == asked.result(0).text and len(heard) == 8 and asked.result(0).tokens > 16 and all(len(piece) == 1 for piece in heard)


def test_one_failure_is_its_own():
    model = made("llama")
    engine = engine_of(model)

    def broken(sample, piece):
        raise RuntimeError("gone")

    good, bad = engine.submit({"prompt": "a", "most": 9}), engine.submit({"prompt": "a", "most": 9}, listen=broken)
    worse = engine.submit({"prompt": "a", "most": 9})

    def nothing(new):
        raise ValueError("no form")

    worse.sequences[0].request.allowed = nothing
    engine.finish()
    assert good.result(0) == model.predict({"prompt": "a", "most": 9})
    with pytest.raises(RuntimeError, match="gone"):
        bad.result(0)
    with pytest.raises(ValueError, match="no form"):
        worse.result(0)
    engine.runner.run = lambda work: 1 / 0
    lost = engine.submit({"prompt": "a", "most": 9})
    with pytest.raises(ZeroDivisionError):
        engine.step()
    with pytest.raises(ZeroDivisionError):
        lost.result(0)
    assert engine.pages.available == engine.pages.count and not engine.pages.known


def test_text_of_a_form():
    pytest.importorskip("llguidance")
    model = made("llama")
    engine = engine_of(model, 24, page=4, chunk=6)
    prompts = [{"prompt": text, "most": 30, "regex": "[0-9]{4}-[0-9]{2}", "seed": seed} for seed, text in enumerate(TEXTS[:4])]
    assert engine.answer(prompts) == [model.predict(prompt) for prompt in prompts]


def test_models_that_cannot_be_read_in_pieces():
    architecture = DecoderConfig.parse({**LLAMA, "positions": {"kind": "rotary", "scaling": {"kind": "dynamic", "factor": 2.0}}}).build()
    with pytest.raises(UsageError, match="dynamic"):
        Engine(Model(architecture, TextProcessor(Bytes().train([])), "text-generation"))


def test_beams_are_for_predict():
    with pytest.raises(UsageError, match=r"beams: .*model\.predict"):
        engine_of(made("llama")).submit({"prompt": "a", "beams": 2})
