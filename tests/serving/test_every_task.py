"""Every task of the catalogue over HTTP: many clients at once get what `model.predict` gives each alone, and the schema says what goes in and out."""

import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import torch
from tests.conformance import test_architectures as tiny

from ftheta.architectures.architecture import Architecture, Estimator
from ftheta.architectures.classical import LinearConfig
from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.architectures.encoder_decoder import EncoderDecoderConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.data.processors.graph import GraphProcessor
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.processors.plain import PlainProcessor
from ftheta.data.processors.processor import Processor
from ftheta.data.processors.table import TableProcessor
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import TRAINED_ROLES, Bytes
from ftheta.models.model import Model
from ftheta.models.tasks import TASKS
from ftheta.serving.http.served import Served
from ftheta.serving.settings import Settings
from listening import get, post, started
from served import LLAMA, TEXTS
from wordpiece import VOCAB, bert_processor

LABELS = ("O", "B-animal", "I-animal")
TRUNK = {"kind": "encoder", "vocab": VOCAB, "dim": 24, "depth": 1, "context": 32, "segments": 2, "mixer": {"kind": "attention", "heads": 3, "causal": False}}
WORDS = ["the cat sat.", "dog", "the dog sat running the cat", "a cat?"]
PIXELS = [[[(row * 7 + column * 3 + seed * 5) % 11 / 11 for column in range(8)] for row in range(8)] for seed in range(3)]
ROWS = [[0.5 * i - j for j in range(6)] for i in range(4)]
COLUMNS = TableProcessor([f"c{i}" for i in range(6)])


def scattered(architecture: Architecture) -> Architecture:
    torch.manual_seed(0)
    for parameter in architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return architecture.eval()


def reading(readout: str) -> tuple[Architecture, Processor]:
    fields = {"kind": "headed", "trunk": TRUNK, "readout": readout, **({} if readout in ("embed", "regress", "span", "choose", "replaced") else {"classes": 3})}
    return scattered(HeadedConfig.parse(fields).build()), bert_processor(LABELS)


def translator() -> tuple[Architecture, Processor]:
    architecture = EncoderDecoderConfig.parse({**LLAMA, "positions": "relative", "context": 40}).build()
    return scattered(architecture), TextProcessor(Bytes().train([]), {**TRAINED_ROLES, "decoder_start": "<pad>"})


def writer() -> tuple[Architecture, Processor]:
    return scattered(DecoderConfig.parse({**LLAMA, "context": 200}).build()), TextProcessor(Bytes().train([]))


def filler() -> tuple[Architecture, Processor]:
    fields = {name: value for name, value in TRUNK.items() if name not in ("kind", "segments")}
    return scattered(EncoderConfig.parse({**fields, "vocab": 260}).build()), TextProcessor(Bytes().train([]))


def line() -> tuple[Architecture, Processor]:
    model = LinearConfig(features=6).build()
    assert isinstance(model, Estimator)
    model.fit(tiny.batch("linear", 60), 0)
    return model.eval(), COLUMNS


WRITES = [{"text": text, "most": 5, "temperature": 1.0, "seed": seed} for seed, text in enumerate(TEXTS[:4])]
SUBJECTS: dict[str, tuple[Callable[[], tuple[Architecture, Processor]], list[dict[str, Any]]]] = {
    "clustering": (lambda: (tiny.fitted("kmeans"), COLUMNS), [{"values": row} for row in ROWS]),
    "feature-extraction": (lambda: reading("embed"), [{"text": text} for text in WORDS]),
    "fill-mask": (filler, [{"text": "a <mask> b"}, {"text": "<mask>", "choices": 3}]),
    "image-classification": (lambda: (tiny.fitted("resnet"), ImageProcessor((8, 8), 1)), [{"pixels": each} for each in PIXELS]),
    "image-feature-extraction": (lambda: (tiny.fitted("resnet"), ImageProcessor((8, 8), 1)), [{"pixels": each} for each in PIXELS]),
    "image-segmentation": (lambda: (tiny.fitted("unet"), ImageProcessor((8, 8), 1)), [{"pixels": each} for each in PIXELS]),
    "marked-token-classification": (lambda: reading("tag"), [{"text": "the ▁cat▁ sat."}, {"text": "▁dog▁"}]),
    "multi-label-image-classification": (lambda: (tiny.fitted("resnet"), ImageProcessor((8, 8), 1)), [{"pixels": each, "least": 0.2} for each in PIXELS]),
    "multi-label-text-classification": (lambda: reading("classify"), [{"text": text, "least": 0.4} for text in WORDS]),
    "multiple-choice": (lambda: reading("choose"), [{"question": "the cat?", "choices": ["dog", "sat", "cat."]}, {"question": "dog?", "choices": ["a", "the"]}]),
    "node-classification": (
        lambda: (tiny.fitted("graph"), GraphProcessor(7)),
        [{"nodes": [[float(i == j) for j in range(7)] for i in range(n)], "edges": [[0, 1], [1, 0]]} for n in (2, 4)],
    ),
    "object-detection": (lambda: (tiny.fitted("detector"), ImageProcessor((8, 8), 1)), [{"pixels": each, "least": 0.3} for each in PIXELS]),
    "question-answering": (lambda: reading("span"), [{"question": "cat?", "context": text} for text in WORDS[:3]]),
    "reinforcement-learning": (lambda: (tiny.fitted("actor_critic"), PlainProcessor()), [{"observation": row[:5]} for row in ROWS]),
    "sentence-similarity": (lambda: reading("embed"), [{"source": "the cat", "sentences": WORDS}, {"source": "dog", "sentences": ["a dog"]}]),
    "summarization": (translator, WRITES),
    "tabular-classification": (lambda: (tiny.fitted("forest"), COLUMNS), [{"values": ROWS[0]}, {"columns": dict(zip(COLUMNS.names, ROWS[1], strict=True))}]),
    "tabular-regression": (line, [{"values": row} for row in ROWS]),
    "text2text-generation": (translator, WRITES),
    "text-classification": (lambda: reading("classify"), [{"text": text} for text in WORDS] + [{"text": "the cat", "second": "dog"}]),
    "text-generation": (writer, [{"prompt": each["text"], **{name: value for name, value in each.items() if name != "text"}} for each in WRITES]),
    "text-ranking": (lambda: reading("regress"), [{"text": text} for text in WORDS]),
    "token-classification": (lambda: reading("tag"), [{"text": text} for text in WORDS]),
    "translation": (translator, WRITES),
    "unconditional-image-generation": (lambda: (tiny.fitted("gan"), ImageProcessor((8, 8), 1, labels=["a", "b", "c"])), [{"label": "a"}, {"label": "b", "seed": 3}]),
    "zero-shot-classification": (writer, [{"text": "the cat sat", "labels": ["animal", "ship"]}, {"text": "one", "labels": ["a", "b", "c"]}]),
}


def test_every_task_is_here():
    assert SUBJECTS.keys() == set(TASKS.names())


def same(found: Any, expected: Any) -> None:
    """Equal but for the last digits of numbers, which the shape of a batch decides."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            same(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=2e-5, rel=1e-4)
    else:
        assert found == expected


@pytest.mark.parametrize("task", SUBJECTS)
def test_many_clients_get_what_each_would_get_alone(task):
    make, given = SUBJECTS[task]
    architecture, processor = make()
    model = Model(architecture, processor, task)
    expected = [json.loads(json.dumps(model.predict(each).dump())) for each in given]
    found: dict[int, tuple[int, dict]] = {}
    for here in started([Served("it", model, Settings())]):
        says = json.loads(get(here, "/openapi.json")[1])
        route = says["paths"][f"/predict/{task}"]["post"]
        takes, gives = (part["content"]["application/json"]["schema"] for part in (route["requestBody"], route["responses"]["200"]))

        def ask(number: int, here: SimpleNamespace = here) -> None:
            found[number] = post(here, f"/predict/{task}", json.dumps(given[number]).encode())

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(given))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for number, each in enumerate(given):
            status, answer = found[number]
            assert status == 200, answer
            same(answer, expected[number])
            jsonschema.validate(each, {**takes, "components": says["components"]})
            jsonschema.validate(answer, {**gives, "components": says["components"]})
        status, wrong = post(here, f"/predict/{task}", b'{"xyzzy": 1}')
        assert status == 400 and wrong["error"]["message"] and get(here, "/ready")[0] == 200
        if "text" in given[0]:                                                            # what is said of a text does not say it back
            assert "xyzzy" not in json.dumps(post(here, f"/predict/{task}", b'{"text": "xyzzy \\u2581", "labels": [], "source": 1}')[1])


@pytest.mark.parametrize("task", SUBJECTS)
def test_routes_that_are_for_other_tasks_refuse(task):
    """In words and by the field, never with a failure of the server."""
    model = Model(*SUBJECTS[task][0](), task)
    bodies = {"/v1/embeddings": {"input": "one"}, "/v1/completions": {"prompt": "one"}, "/v1/chat/completions": {"messages": [{"role": "user", "content": "one"}]},
              "/evidence": {"text": "one"}}
    for here in started([Served("it", model, Settings())]):
        for path, body in bodies.items():
            status, found = post(here, path, json.dumps({"model": "it", **body}).encode())
            assert status == 200 or (status == 400 and found["error"]["param"]), (path, found)
        assert get(here, "/ready")[0] == 200


@pytest.mark.parametrize("task", ["fill-mask", "text-generation", "translation"])
def test_absurd_numbers_are_refused_or_do_no_harm(task):
    """None makes as many of anything as was asked for."""
    make, given = SUBJECTS[task]
    model = Model(*make(), task)
    for here in started([Served("it", model, Settings(together=2, queue=2))]):
        for field in {"samples", "beams", "choices", "lookup"} & type(model.task).input.model_fields.keys():
            for number in (5, 10**4, 10**400):
                status, found = post(here, f"/predict/{task}", json.dumps({**given[0], field: number}).encode())
                assert status == 200 or (status == 400 and found["error"]["message"]), (field, number, found)
                assert status == 400 or field not in ("samples", "beams")
        assert get(here, "/ready")[0] == 200


def test_the_server_opens_no_files(tmp_path):
    """A client's path is refused, whether or not there is such a file."""
    (tmp_path / "picture.png").write_bytes(b"secret")
    model = Model(tiny.fitted("resnet"), ImageProcessor((8, 8), 1), "image-classification")
    for here in started([Served("it", model, Settings())]):
        answers = [post(here, "/predict/image-classification", json.dumps({"path": place}).encode()) for place in (str(tmp_path / "picture.png"), "/etc/passwd", "no/such")]
        assert {status for status, _ in answers} == {400} and len({json.dumps(answer) for _, answer in answers}) == 1
