"""Models that pages cannot hold, in slots: recurrent layers, mixtures with attention, encoder-decoders. The same text alone or in any batch."""

import random

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.encoder_decoder import EncoderDecoderConfig
from ftheta.blocks.context import Cache
from ftheta.core.errors import UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import EOS, TRAINED_ROLES, Bytes
from ftheta.models.model import Model
from ftheta.serving.capacity import plan
from ftheta.serving.engine import Engine, QueueFull
from ftheta.serving.http.served import Served
from ftheta.serving.settings import Settings
from ftheta.serving.slots import bytes_of, largest
from listening import post, started
from served import GPT2, LLAMA, TEXTS

LSTM = {**LLAMA, "mixer": {"kind": "lstm"}, "positions": "none"}
HYBRID = {**LLAMA, "mixer": [{"kind": "gru"}, {"kind": "attention", "heads": 4, "window": 9}], "positions": "none"}
BOTH = {**LLAMA, "mixer": [{"kind": "lstm"}, {"kind": "attention", "heads": 4}]}
T5 = {**LLAMA, "positions": "relative", "context": 40}
BART = {**GPT2, "context": 40}
SSM = {**LLAMA, "mixer": {"kind": "ssm"}, "positions": "none"}
READ = {"lstm": LSTM, "ssm": SSM, "hybrid": HYBRID, "both": BOTH}
ANSWER = {"t5": T5, "bart": BART}


def made(name: str) -> Model:
    kind = EncoderDecoderConfig if name in ANSWER else DecoderConfig
    architecture = kind.parse({**READ, **ANSWER}[name]).build()
    torch.manual_seed(0)
    for parameter in architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    processor = TextProcessor(Bytes().train([]), {**TRAINED_ROLES, "decoder_start": "<pad>"})
    return Model(architecture, processor, "translation" if name in ANSWER else "text-generation")


def asked(model: Model, draws: random.Random, count: int) -> list[dict]:
    field = "text" if "source" in model.architecture.config.ports().takes else "prompt"
    return [
        {
            field: draws.choice(TEXTS), "most": draws.choice([1, 5, 20, 60]), "seed": draws.randrange(4), "temperature": draws.choice([0.0, 0.7, 1.0]),
            "bias": {str(EOS): draws.choice([-5.0, 1.0])}, "samples": draws.choice([1, 1, 2]), "scores": True,
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("name", [*READ, *ANSWER])
def test_alone_or_in_any_batch(name):
    """Random mixes × sequences together × pieces of prompts × slots so few that others wait."""
    model, draws = made(name), random.Random(name)
    prompts = asked(model, draws, 9)
    alone = [model.predict(prompt) for prompt in prompts]
    assert len({answer.text for answer in alone}) > 4
    for together, chunk in [(32, 512), (3, 7), (8, 16)]:
        engine = Engine(model, Settings(together=together, chunk=chunk))
        order = draws.sample(range(len(prompts)), len(prompts))
        for number, answer in zip(order, engine.answer([prompts[number] for number in order]), strict=True):
            for one, other in zip([answer, *answer.more], [alone[number], *alone[number].more], strict=True):
                assert (one.text, one.tokens, one.finish) == (other.text, other.tokens, other.finish)
                torch.testing.assert_close(torch.tensor(one.scores), torch.tensor(other.scores), atol=1e-4, rtol=1e-4)
        assert engine.pages.available == engine.pages.count == together and not engine.asked and not engine.scheduler.preemptions


@pytest.mark.parametrize("name", ["lstm", "t5"])
def test_caches_of_equal_shape_are_read_together(name):
    """Six texts of one length are one pass a step, and not six."""
    model = made(name)
    engine, passes = Engine(model, Settings()), []
    model.architecture.register_forward_pre_hook(lambda part, args, fields: passes.append(fields["tokens"].shape[0]), with_kwargs=True)
    field = "text" if name == "t5" else "prompt"
    for seed in range(6):
        engine.submit({field: "hello", "most": 5, "seed": seed, "temperature": 1.0, "bias": {str(EOS): -1e9}})
    engine.finish()
    assert passes == [1] * 6 + [6] * 4


@pytest.mark.parametrize("name", [*READ, *ANSWER])
def test_a_slot_is_planned_at_its_largest(name):
    model = made(name)
    architecture, longest = model.architecture, model.task.limits()["longest"]
    source = None if name in READ else 40
    cache, inputs = Cache(), {} if source is None else {"source": torch.zeros(1, source, dtype=torch.long)}
    with torch.no_grad():
        architecture(tokens=torch.zeros(1, longest or 100, dtype=torch.long), cache=cache, **inputs)
    planned = largest(architecture, longest, source)
    assert planned >= bytes_of(cache) and (name == "hybrid" or planned == bytes_of(cache))
    few, many = (plan(model, 16, 10_000, 64, memory) for memory in (64 << 20, 128 << 20))
    assert many.bytes - few.bytes == (many.pages - few.pages) * 3 * planned and few.bytes <= 64 << 20 < few.bytes + 3 * planned
    assert str(few) == f"{few.pages:,} sequences fit in {few.bytes / 2**20:,.0f} MB"
    with pytest.raises(UsageError, match="hold no sequence"):
        plan(model, 16, 8, 64, 1000)


def test_the_server_translates():
    model = made("t5")
    for here in started([Served("words", model, Settings())]):
        body = b'{"text": "hello there", "most": 6, "temperature": 1.0, "seed": 3}'
        status, found = post(here, "/predict/translation", body)
        assert status == 200 and found == model.predict({"text": "hello there", "most": 6, "temperature": 1.0, "seed": 3}).dump()
        assert here.served["words"].worker is not None
        status, found = post(here, "/v1/completions", b'{"model": "words", "prompt": "a"}')
        assert status == 400 and found["error"]["code"] == "wrong_task"


def test_more_than_fit_wait_and_more_than_may_wait_are_refused():
    model = made("lstm")
    engine = Engine(model, Settings(together=2, queue=1))
    for seed in range(3):
        engine.submit({"prompt": "a", "most": 4, "seed": seed})
    with pytest.raises(QueueFull):
        engine.submit({"prompt": "a"})
    engine.step()
    assert len(engine.scheduler.running) == 2 and len(engine.scheduler.waiting) == 1
    engine.finish()
    assert not engine.asked
