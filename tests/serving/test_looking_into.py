"""What an answer rests on over HTTP: the model's own thread works it out between its steps, and what is being written stays as it is."""

import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from ftheta.data.tokenizers.trained import EOS
from ftheta.models.evidence import Pointed, evidence
from ftheta.serving.engine import QueueFull
from ftheta.serving.settings import Settings
from ftheta.serving.worker import ERRANDS, Worker
from listening import get, post, started
from served import TEXTS, engine_of, headed, made

pytest.importorskip("uvicorn")

from ftheta.serving.http.page import facts
from ftheta.serving.http.served import Served


@pytest.fixture(scope="module")
def here() -> Iterator[SimpleNamespace]:
    yield from started([
        Served("writer", made("llama"), Settings(together=4, queue=4, page=4)), Served("classes", headed("text-classification", "classify"), Settings()),
        Served("vectors", headed("feature-extraction", "embed"), Settings()),
    ])


def asked(here, **fields) -> tuple[int, dict]:
    return post(here, "/evidence", json.dumps(fields).encode())


@pytest.mark.parametrize(("model", "fields"), [
    ("writer", {"text": "hello there", "at": 4}), ("writer", {"text": "hello there", "at": 4, "method": "gradient"}), ("classes", {"text": "hello", "method": "gradient"}),
])
def test_it_is_what_the_model_says(here, model, fields):
    status, found = asked(here, model=model, **fields)
    assert status == 200 and found == evidence(here.served[model].model, Pointed.parse(fields)).dump()


@pytest.mark.parametrize(("model", "fields", "status", "word"), [
    ("writer", {"text": "a" * 60}, 400, "61 tokens"), ("writer", {"text": "abc", "at": 99}, 400, "at: the text has only 4"), ("nobody", {"text": "a"}, 404, "no such model"),
    ("writer", {"text": "abc", "at": -1}, 400, "at: "), ("writer", {"text": "abc", "method": "magic"}, 400, "method: "),
    ("vectors", {"text": "abc"}, 400, "no way to be looked into"),
    ("writer", {"pixels": [[0]]}, 400, "pixels: "), ("writer", {}, 400, "give one of text"),
])
def test_what_cannot_be_asked(here, model, fields, status, word):
    found, said = asked(here, model=model, **fields)
    assert found == status and word in said["error"]["message"]


def test_what_is_written_meanwhile_stays_as_it_is(here):
    """Both at once: the hooks that look into a pass see no other pass."""
    model, found = here.served["writer"].model, {}
    expected = [model.predict({"prompt": text, "most": 20, "seed": 1, "temperature": 1.0, "top_p": 1.0}).text for text in TEXTS[:3]]
    grounds = evidence(model, Pointed(text="hello", at=3)).dump()

    def write(number: int) -> None:
        fields = {"model": "writer", "prompt": TEXTS[number], "max_tokens": 20, "seed": 1}
        found[number] = post(here, "/v1/completions", json.dumps(fields).encode())[1]["choices"][0]["text"]

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    seen = [asked(here, model="writer", text="hello", at=3) for _ in range(5)]
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(3)] == expected and seen == [(200, grounds)] * 5


def test_errands_wait_for_the_step_and_are_not_endless():
    worker = Worker(engine_of(made("llama")))
    gate, entered = threading.Event(), threading.Event()
    first = worker.do(lambda: (entered.set(), gate.wait(60)))
    assert entered.wait(60)
    waiting = [worker.do(lambda number=number: number) for number in range(ERRANDS)]
    with pytest.raises(QueueFull, match="try again later"):
        worker.do(lambda: None)
    assert waiting[0].cancel()
    gate.set()
    assert first.result(60) and [each.result(60) for each in waiting[1:]] == list(range(1, ERRANDS))
    with pytest.raises(ZeroDivisionError):
        worker.do(lambda: 1 / 0).result(60)
    assert worker.submit({"prompt": "a", "most": 3, "bias": {str(EOS): -1e9}}).result(60).tokens == 3 and worker.alive
    worker.close()


def test_the_page_and_the_schema_say_who_can(here):
    assert [facts(here.served[name])["evidence"] for name in ("writer", "classes", "vectors")] == [["attention", "gradient"], ["attention", "gradient"], []]
    document = json.loads(get(here, "/openapi.json")[1])
    assert document["paths"]["/evidence"]["post"]["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/EvidenceBody"}
