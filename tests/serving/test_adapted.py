"""Adapters chosen request by request, in one batch with others: each text is the one the merged model writes."""

import pytest
import torch

from ftheta.adaptation.lora import LoRA
from ftheta.adaptation.virtual import PromptTuning
from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import UsageError
from ftheta.models.adapters import PREFIX, Adapter, save_adapter
from ftheta.models.folder import load, save
from ftheta.models.model import Model
from ftheta.serving.engine import Engine
from ftheta.serving.http.order import attach
from ftheta.serving.http.served import Served
from ftheta.serving.settings import Settings
from listening import started
from served import MODELS, TEXTS, engine_of, made

MAPS = {"llama": None, "gpt2": ("output", "up", "down")}
SORTS = {"plain": {"rank": 3, "alpha": 6.0}, "dora": {"rank": 2, "alpha": 4.0, "magnitude": True}, "some": {"rank": 4, "targets": ("down",)}}


def adapted(folder, name: str) -> Model:
    """A model and three adapters beside it, of unlike ranks and targets."""
    place = save(made(name), folder / "base")
    for number, (sort, fields) in enumerate(SORTS.items()):
        adapt = LoRA.parse({"targets": MAPS[name], **fields})
        architecture = load(place).architecture
        adapt.apply(architecture, number)
        torch.manual_seed(number)
        for parameter in architecture.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn(parameter.shape) * 0.2)
        save_adapter(architecture, adapt, folder / sort, str(place))
    model = load(place)
    for sort in SORTS:
        model.attach(folder / sort)
    if name == "gpt2":                                                                    # one map of theirs is three of ours
        place, draws = f"{PREFIX}transformer.h.1.attn.c_attn", torch.Generator().manual_seed(5)
        tensors = {f"{place}.lora_A.weight": torch.randn(2, 32, generator=draws), f"{place}.lora_B.weight": torch.randn(96, 2, generator=draws)}
        model.adapters.add("fused", Adapter({"peft_type": "LORA", "r": 2, "lora_alpha": 1.0}, tensors), "base")
    return model


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_each_text_is_the_merged_models(name, tmp_path):
    model = adapted(tmp_path, name)
    prompts = [{"prompt": text, "most": 14, "seed": 2, "temperature": heat, "scores": True} for text in TEXTS[:4] for heat in (0.0, 1.0)]
    sorts = [None, *model.adapters.known]
    expected = {sort: model.use(sort).predict(prompts) for sort in sorts}
    model.use(None)
    assert len({answer.text for answers in expected.values() for answer in answers}) > 20
    for fields in ({"page": 4, "together": 9, "chunk": 16}, {"page": 4, "together": 32, "chunk": 512}):
        engine = engine_of(model, **fields)
        asked = [(sort, i, engine.submit(prompt, adapter=sort)) for i, prompt in enumerate(prompts) for sort in sorts]
        engine.finish()
        for sort, i, one in asked:
            found, other = one.result(), expected[sort][i]
            assert (found.text, found.finish) == (other.text, other.finish), (sort, i)
            torch.testing.assert_close(torch.tensor(found.scores), torch.tensor(other.scores), atol=1e-4, rtol=1e-4)
        assert model.predict(prompts) == expected[None]                                   # the model itself is as it was
        engine.adapted.close()


def test_a_beginning_is_only_known_to_its_adapter(tmp_path):
    engine = engine_of(adapted(tmp_path, "llama"), page=4)
    prompt = {"prompt": TEXTS[3], "most": 1}
    for sort in ("plain", "some", None):
        engine.submit(prompt, adapter=sort)
        engine.finish()
        assert engine.pages.hits == 0
    engine.submit(prompt, adapter="plain")
    engine.finish()
    assert engine.pages.hits > 0


def test_what_cannot_be_chosen(tmp_path):
    model = adapted(tmp_path, "llama")
    engine = engine_of(model)
    with pytest.raises(UsageError, match="adapter: none is called 'plian'; did you mean 'plain'"):
        engine.submit({"prompt": "a"}, adapter="plian")
    with pytest.raises(UsageError, match="adapter: none is called 'plain'"):
        Engine(model.use("plain")).submit({"prompt": "a"}, adapter="plain")
    architecture = DecoderConfig.parse(MODELS["llama"]).build()
    architecture.load_state_dict(load(tmp_path / "base").architecture.state_dict())
    tokens = PromptTuning(tokens=2)
    tokens.apply(architecture, 0)
    save_adapter(architecture, tokens, tmp_path / "tokens", "base")
    with pytest.raises(UsageError, match="learned tokens stand before all texts"):
        Engine(load(tmp_path / "base").attach(tmp_path / "tokens"))


def test_an_adapter_is_a_model_of_the_server(tmp_path):
    openai = pytest.importorskip("openai")
    model = adapted(tmp_path, "llama")
    expected = {sort: model.use(sort).predict({"prompt": "hello", "most": 9, "temperature": 0.0}).text for sort in (None, "plain", "dora")}
    for here in started([Served("writer", model.use(None), Settings())]):
        with openai.OpenAI(base_url=f"http://127.0.0.1:{here.port}/v1", api_key="any", max_retries=0, timeout=60) as client:
            assert [each.id for each in client.models.list()] == ["writer", "writer:dora", "writer:plain", "writer:some"]
            for sort, text in expected.items():
                name = "writer" if sort is None else f"writer:{sort}"
                found = client.completions.create(model=name, prompt="hello", max_tokens=9, temperature=0)
                assert (found.choices[0].text, found.model) == (text, name)
            with pytest.raises(openai.NotFoundError, match="writer:dora"):
                client.completions.create(model="writer:none", prompt="hello")


def test_adapters_are_named_with_their_model(tmp_path):
    model = adapted(tmp_path, "llama")
    attach({"writer": model}, f"writer:second={tmp_path / 'plain'}")
    assert "second" in model.adapters.known
    for wrong in ("writer=x", f"writter:a={tmp_path / 'plain'}", "writer:a", ":a=b"):
        with pytest.raises(UsageError, match="expected MODEL:NAME=FOLDER with one of the models writer"):
            attach({"writer": model}, wrong)
