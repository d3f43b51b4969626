"""The server as clients see it: OpenAI's own client unmodified, what is refused and how, and clients who go."""

import base64
import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.conformance.test_architectures import fitted

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import FolderError, UsageError
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.subword import Unigram
from ftheta.data.tokenizers.trained import EOS
from ftheta.models.folder import save
from ftheta.models.model import Model
from ftheta.serving.settings import Settings
from listening import get, post, send, started, until
from served import LLAMA, TEXTS, headed, made

pytest.importorskip("uvicorn")
openai = pytest.importorskip("openai")

from ftheta.serving.http.guard import OPEN  # noqa: E402
from ftheta.serving.http.order import Order, aside  # noqa: E402
from ftheta.serving.http.served import Served, name_of  # noqa: E402
from ftheta.serving.http.server import serve  # noqa: E402

TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}{{ message.role }}: {{ message.content }}"
    "{% for call in message.tool_calls %}{{ call | tojson }}{% endfor %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
ENDLESS = {str(EOS): -100}


@pytest.fixture(scope="module")
def here() -> Iterator[SimpleNamespace]:
    writer = made("llama")
    writer.processor.chat_template = TEMPLATE
    tools = made("gpt2")
    tools.processor.chat_template = TOOLS
    yield from started([
        Served("writer", writer, Settings(together=4, queue=4, page=4)), Served("vectors", headed("feature-extraction", "embed"), Settings()),
        Served("classes", headed("text-classification", "classify"), Settings()), Served("tools", tools, Settings(together=4, queue=4, page=4)),
    ], body=20_000, slow=1.0)


@pytest.fixture()
def client(here):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{here.port}/v1", api_key="any", max_retries=0, timeout=60) as found:
        yield found


def test_models(client):
    assert [model.id for model in client.models.list()] == ["writer", "vectors", "classes", "tools"]
    assert client.models.retrieve("classes").id == "classes"
    with pytest.raises(openai.NotFoundError, match="there is no such model here"):
        client.models.retrieve("no")


def test_a_model_is_unloaded_and_loaded_again(tmp_path):
    """Answers under way come to their end; only what was ordered can be loaded."""
    for name in ("one", "two"):
        save(made("llama"), tmp_path / name / "model")
    order = Order(models=(str(tmp_path / "one" / "model"), str(tmp_path / "two" / "model")), settings=Settings(together=2))
    models = order.opened()
    for here in started(list(models), again=order.again):
        with openai.OpenAI(base_url=f"http://127.0.0.1:{here.port}/v1", api_key="any", max_retries=0, timeout=60) as client:
            asked: dict[str, Any] = {"model": "one", "prompt": "a", "max_tokens": 100, "seed": 1, "logit_bias": ENDLESS}
            whole = client.completions.create(**asked).choices[0].text
            pieces = iter(client.completions.create(**asked, stream=True))
            text = next(pieces).choices[0].text
            assert client.models.delete("one").deleted and not here.served["one"].alive
            assert text + "".join(piece.choices[0].text for piece in pieces) == whole
            assert [model.id for model in client.models.list()] == ["two"] and get(here, "/ready")[0] == 200
            with pytest.raises(openai.NotFoundError):
                client.completions.create(**asked)
            with pytest.raises(openai.NotFoundError):
                client.models.delete("one")
            assert [post(here, "/v1/models/one", b"")[0] for _ in range(2)] == [200, 200]
            assert client.completions.create(**asked).choices[0].text == whole
            for name in ("three", "..%2Ftwo", "%2Fetc%2Fpasswd"):
                assert post(here, f"/v1/models/{name}", b"")[0] == 404
            shutil.rmtree(tmp_path / "two")
            assert client.models.delete("two").deleted and post(here, "/v1/models/two", b"")[0] == 503


def test_models_are_opened_in_a_thread_that_has_ended(tmp_path):
    """A thread that computed and lives slows down the computing of all others."""
    seen = []
    assert aside(lambda: seen.append(threading.current_thread()) or 7) == 7
    assert seen[0] is not threading.current_thread() and not seen[0].is_alive()
    with pytest.raises(FolderError, match="nowhere"):
        Order(models=(str(tmp_path / "nowhere"),)).opened()


def test_null_is_what_a_field_is_without_it(client):
    chat: dict[str, Any] = {"model": "writer", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3, "seed": 1}
    without = client.chat.completions.create(**chat)
    names = ("temperature", "top_p", "n", "stream", "stop", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "user")
    assert client.chat.completions.create(**chat, **dict.fromkeys(names)).choices == without.choices
    text = client.completions.create(model="writer", prompt="a", max_tokens=3, seed=1).choices
    assert client.completions.create(model="writer", prompt="a", max_tokens=3, seed=1, **dict.fromkeys((*names[:8], "logprobs"))).choices == text


@pytest.mark.parametrize("path, fields, field, said", [
    ("/v1/completions", {"model": "writer", "prompt": "a", "logit_bias": {"99999": 1}}, "logit_bias", "logit_bias: 99999 is no token id"),
    ("/v1/completions", {"model": "writer", "prompt": "a", "regex": "(x"}, "regex", "regex: the value cannot be used"),
    ("/v1/chat/completions", {
        "model": "writer", "messages": [{"role": "user", "content": "a"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "no"}}},
    }, "response_format", "response_format: the value cannot be used"),
    ("/v1/chat/completions", {"model": "plain", "messages": [{"role": "user", "content": "a"}]}, "messages", "messages: this model has no chat template"),
    ("/predict/image-classification", {"pixels": [[1]]}, None, "picture 0: shape (1, 1) does not fit: expected (8, 8)"),
    ("/predict/image-classification", {"data": "aGVsbG8="}, None, "picture 0: not a picture file"),
    ("/predict/image-classification", {"data": "*"}, None, "picture 0: data is not base64"),
    ("/predict/image-classification", {}, None, "picture 0: give one of path, data, pixels"),
])
def test_what_is_wrong_is_said_by_the_name_the_client_knows(path, fields, field, said):
    pytest.importorskip("llguidance")
    writer = made("llama")
    writer.processor.chat_template = TEMPLATE
    pictures = Model(fitted("resnet"), ImageProcessor((8, 8), 1), "image-classification")
    for here in started([Served("writer", writer, Settings()), Served("plain", made("gpt2"), Settings()), Served("pictures", pictures, Settings())]):
        status, found = post(here, path, json.dumps(fields).encode())
        assert status == 400 and found["error"]["param"] == field and found["error"]["message"].startswith(said), found


def test_completions_are_what_the_model_writes(client, here):
    model = here.served["writer"].model
    for seed, text in enumerate(TEXTS[:3]):
        found = client.completions.create(
            model="writer", prompt=text, max_tokens=12, temperature=1.0, seed=seed, presence_penalty=0.5, logit_bias=ENDLESS, logprobs=0, extra_body={"top_k": 50},
        )
        expected = model.predict({
            "prompt": text, "most": 12, "temperature": 1.0, "seed": seed, "presence": 0.5, "bias": ENDLESS, "top_k": 50, "top_p": 1.0, "scores": True,
        })
        assert found.choices[0].text == expected.text and found.choices[0].finish_reason == expected.finish
        assert found.choices[0].logprobs.token_logprobs == pytest.approx(expected.scores, abs=1e-4)
        assert len(found.choices[0].logprobs.tokens) == 12
        read = len(model.processor.encode(text))
        assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (read, 12, read + 12)


def test_several_prompts_and_samples(client, here):
    found = client.completions.create(model="writer", prompt=["a", "hello"], n=2, max_tokens=5, seed=1)
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    for number, text in enumerate(["a", "hello"]):
        answer = here.served["writer"].model.predict({"prompt": text, "most": 5, "seed": 1, "samples": 2, "temperature": 1.0, "top_p": 1.0})
        assert [choice.text for choice in found.choices[2 * number : 2 * number + 2]] == [answer.text, answer.more[0].text]


def test_streams(client):
    asked = {"model": "writer", "prompt": ["a", "hello"], "max_tokens": 20, "seed": 3, "stop": ["q"]}
    whole = client.completions.create(**asked)
    pieces = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    for index in range(2):
        assert "".join(choice.text for piece in pieces for choice in piece.choices if choice.index == index) == whole.choices[index].text
        reasons = [choice.finish_reason for piece in pieces for choice in piece.choices if choice.index == index]
        assert reasons[-1] == whole.choices[index].finish_reason and set(reasons[:-1]) <= {None}
    assert pieces[-1].usage == whole.usage and not pieces[-1].choices and len({piece.id for piece in pieces}) == 1


def test_chat(client, here):
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    asked = {"model": "writer", "messages": messages, "max_completion_tokens": 15, "seed": 2}
    whole = client.chat.completions.create(**asked, logprobs=True)
    plain = [messages[0], {"role": "user", "content": "hello"}]
    expected = here.served["writer"].model.predict({"messages": plain, "most": 15, "seed": 2, "temperature": 1.0, "top_p": 1.0})
    assert whole.choices[0].message.content == expected.text and whole.choices[0].message.role == "assistant"
    assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens == expected.tokens
    pieces = list(client.chat.completions.create(**asked, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == expected.text and pieces[0].choices[0].delta.role == "assistant"


def test_answers_of_a_form(client):
    pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    found = client.chat.completions.create(model="writer", messages=[{"role": "user", "content": "a"}], response_format=form, max_tokens=60)
    assert isinstance(json.loads(found.choices[0].message.content)["a"], bool)


def test_the_likeliest_tokens_of_every_place(client, here):
    model = here.served["writer"].model
    found = client.completions.create(model="writer", prompt="hello", max_tokens=8, seed=1, logprobs=5, logit_bias=ENDLESS).choices[0].logprobs
    expected = model.predict({"prompt": "hello", "most": 8, "seed": 1, "bias": ENDLESS, "scores": True, "alternatives": 5, "temperature": 1.0, "top_p": 1.0})
    start = model.processor.encode("hello")
    with torch.no_grad():
        known = model.architecture(tokens=torch.tensor([start]))["logits"][0, -1].log_softmax(-1)
    assert [each.score for each in expected.alternatives[0]] == pytest.approx(known.topk(5).values.tolist(), abs=1e-4)
    assert [each.text for each in expected.alternatives[0]] == [model.processor.decode([i]) for i in known.topk(5).indices.tolist()]
    assert len(found.top_logprobs) == 8 and found.text_offset == [sum(map(len, found.tokens[:i])) for i in range(8)]
    for place, beside in zip(found.top_logprobs, expected.alternatives, strict=True):
        assert place == pytest.approx({each.text: each.score for each in beside}, abs=1e-4)


def test_logprobs_in_pieces(client):
    asked = {"model": "writer", "messages": [{"role": "user", "content": "a"}], "max_tokens": 12, "seed": 4, "n": 2, "logprobs": True, "top_logprobs": 3}
    whole = client.chat.completions.create(**asked)
    pieces = list(client.chat.completions.create(**asked, stream=True))
    for choice in whole.choices:
        said = [entry for piece in pieces for one in piece.choices if one.index == choice.index and one.logprobs for entry in one.logprobs.content]
        assert len(said) == len(choice.logprobs.content) and all(len(entry.top_logprobs) == 3 for entry in said)
        for one, other in zip(said, choice.logprobs.content, strict=True):
            assert one.token == other.token and one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert one.top_logprobs[0].logprob >= one.top_logprobs[1].logprob and bytes(one.bytes).decode("utf-8", "replace") == one.token


def test_bytes_of_tokens_are_those_of_the_text(client):
    """Also where a character is written by several tokens, as every Chinese one is here."""
    pytest.importorskip("llguidance")
    asked: dict[str, Any] = {"model": "writer", "messages": [{"role": "user", "content": "a"}], "max_tokens": 6, "logprobs": True}
    (choice,) = client.chat.completions.create(**asked, extra_body={"regex": "中文"}).choices
    assert bytes(byte for entry in choice.logprobs.content for byte in entry.bytes).decode() == choice.message.content == "中文"


def test_words_keep_the_space_before_them():
    """Tokens of SentencePiece, of which each alone is read without it."""
    pytest.importorskip("llguidance")
    corpus = [json.__doc__ or ""] * 2
    processor = TextProcessor(Unigram(vocab=300).train(corpus))
    architecture = DecoderConfig.parse({**LLAMA, "vocab": 300}).build()
    architecture.initialise(0)                                                            # memory as it comes may hold what is no number
    model = Model(architecture, processor, "text-generation")
    for here in started([Served("writer", model, Settings())]):
        body = {"model": "writer", "prompt": "a whale", "max_tokens": 40, "seed": 1, "logprobs": 1, "regex": "( the sea){3}"}
        (choice,) = post(here, "/v1/completions", json.dumps(body).encode())[1]["choices"]
        assert "".join(choice["logprobs"]["tokens"]) == choice["text"] == " the sea the sea the sea"


def test_tools_are_told_in_the_words_of_the_template(client, here):
    """The prompt is the template rendered by Jinja with the tools and the calls as transformers gives them."""
    model = here.served["tools"].model
    tool = {"type": "function", "function": {"name": "add", "description": "sums <b>", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}
    talk = [{"role": "user", "content": "1+1?"}, {
        "role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
    }, {"role": "tool", "content": "2", "tool_call_id": "c1"}]
    found = client.chat.completions.create(model="tools", messages=talk, tools=[tool], max_tokens=4, seed=1)
    called = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    text = f"{json.dumps([tool])}user: 1+1?\nassistant: {json.dumps(called)}\ntool: 2\nassistant: "
    expected = model.predict({"prompt": text, "most": 4, "seed": 1, "temperature": 1.0, "top_p": 1.0})
    assert found.choices[0].message.content == expected.text
    assert found.usage.prompt_tokens == len(model.processor.encode(text)) - 1                 # this template begins without a control token
    without = client.chat.completions.create(model="tools", messages=talk[:1], tools=[tool], tool_choice="none", max_tokens=4, seed=1)
    assert without.usage.prompt_tokens == len(model.processor.encode("user: 1+1?\nassistant: ")) - 1
    forged = {"type": "function", "function": {"name": "add", "description": "<eos>"}}
    with pytest.raises(openai.BadRequestError, match="control tokens"):
        client.chat.completions.create(model="tools", messages=talk[:1], tools=[forged], max_tokens=4)


def test_any_object(client):
    pytest.importorskip("llguidance")
    found = client.chat.completions.create(
        model="writer", messages=[{"role": "user", "content": "a"}], response_format={"type": "json_object"}, max_tokens=200, seed=3, logit_bias={"127": 8},
    )
    assert found.choices[0].finish_reason == "length" or isinstance(json.loads(found.choices[0].message.content), dict)
    with pytest.raises(openai.BadRequestError, match="goes with the type"):
        client.chat.completions.create(model="writer", messages=[{"role": "user", "content": "a"}], response_format={"type": "json_schema"})


def test_embeddings(client, here):
    found = client.embeddings.create(model="vectors", input=TEXTS[:3])                    # the client asks for base64
    plain = client.embeddings.create(model="vectors", input=TEXTS[:3], encoding_format="float")
    for text, one, other in zip(TEXTS, found.data, plain.data, strict=False):
        expected = here.served["vectors"].model.predict({"text": text}).embedding
        assert one.embedding == pytest.approx(expected, abs=1e-5) and other.embedding == pytest.approx(expected, abs=1e-5)
    assert found.usage.prompt_tokens > 0
    body = json.dumps({"model": "vectors", "input": "a", "encoding_format": "base64"}).encode()
    packed = base64.b64decode(post(here, "/v1/embeddings", body)[1]["data"][0]["embedding"])
    expected = here.served["vectors"].model.predict({"text": "a"}).embedding
    assert struct.unpack(f"<{len(packed) // 4}f", packed) == pytest.approx(expected, abs=1e-5)


def test_every_task_by_its_own_fields(here):
    status, found = post(here, "/predict/text-classification", b'{"text": "hello"}')
    expected = here.served["classes"].model.predict({"text": "hello"}).dump()
    assert status == 200 and found["label"] == expected["label"]
    status, found = post(here, "/predict/text-generation", b'{"prompt": "hello", "most": 4, "seed": 1, "samples": 2}')
    assert status == 200 and found == here.served["writer"].model.predict({"prompt": "hello", "most": 4, "seed": 1, "samples": 2}).dump()
    assert post(here, "/predict/fill-mask", b"{}")[0] == 404
    schema = json.loads(get(here, "/openapi.json")[1])
    place = schema["paths"]["/predict/text-generation"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert "prompt" in schema["components"]["schemas"][place.rpartition("/")[2]]["properties"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(here):
    body = json.dumps({"model": "writer", "prompt": "a", "max_tokens": 3, "seed": 1, "stream": True, "logit_bias": ENDLESS})
    command = ["curl", "-sN", f"http://127.0.0.1:{here.port}/v1/completions", "-H", "Content-Type: application/json", "-d", body]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: {") for line in lines[:-1]) and len(lines) >= 3


SECRET = "xyzzy-plugh"


@pytest.mark.parametrize("path, body, status, code", [
    ("/v1/completions", b"{", 400, "invalid_json"),
    ("/v1/completions", b"\xff\xfe", 400, "invalid_json"),
    ("/v1/completions", b'{"model": "writer", "prompt": "\\ud800"}', 400, "invalid_json"),
    ("/v1/completions", b'{"model": "writer", "prompt": "a", "temperature": NaN}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "writer", "prompt": "a", "temperature": 1e999}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "writer", "prompt": "a", "max_tokens": -1}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "writer", "prompt": "a", "max_tokens": 1' + b"0" * 5000 + b"}", 400, None),
    ("/v1/completions", b'{"model": "writer", "prompt": "a", "n": 100000}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "writer", "prompt": []}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "writer", "prompt": [1, 2]}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "writer"}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "writer", "prompt": "a", "xyzzy-plugh": 1}', 400, "unknown_field"),
    ("/v1/completions", b'{"model": "xyzzy-plugh", "prompt": "a"}', 404, "model_not_found"),
    ("/v1/completions", b'{"model": "../../etc/passwd", "prompt": "a"}', 404, "model_not_found"),
    ("/v1/completions", b'{"model": "writer", "prompt": "a", "logit_bias": {"xyzzy-plugh": 1}}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "writer", "prompt": "a", "logit_bias": {"99999": 1}}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "writer", "prompt": "a", "regex": "(xyzzy-plugh"}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "writer", "prompt": "a", "stop": [""]}', 400, "invalid_value"),
    ("/v1/completions", b'{"model": "vectors", "prompt": "a"}', 400, "wrong_task"),
    ("/v1/completions", b'{"model": "writer", "prompt": ' + b"[" * 10_000 + b"]" * 9_000, 400, "invalid_json"),
    ("/v1/completions", b'{"model": "writer", "prompt": "' + b"x" * 30_000 + b'"}', 413, "too_large"),
    ("/v1/chat/completions", b'{"model": "writer", "messages": []}', 400, "invalid_value"),
    ("/v1/chat/completions", b'{"model": "writer", "messages": [{"role": "xyzzy-plugh", "content": "a"}]}', 400, "invalid_value"),
    ("/v1/chat/completions", b'{"model": "writer", "messages": [{"role": "assistant", "content": "a"}]}', 400, "invalid_value"),
    ("/v1/embeddings", b'{"model": "vectors", "input": []}', 400, "invalid_value"),
    ("/v1/embeddings", b'{"model": "writer", "input": "a"}', 400, "wrong_task"),
    ("/predict/text-classification", b'{"xyzzy-plugh": "a"}', 400, None),
    ("/v1/xyzzy-plugh", b"{}", 404, "not_found"),
])
def test_what_is_wrong_is_said_without_saying_it_back(here, path, body, status, code):
    found, answer = post(here, path, body)
    error = answer["error"]
    assert found == status and set(error) == {"message", "type", "param", "code"} and error["message"] and (code is None or error["code"] == code), answer
    assert SECRET not in json.dumps(answer) and "passwd" not in json.dumps(answer)
    assert get(here, "/ready")[0] == 200


def test_openais_client_knows_the_errors(client):
    with pytest.raises(openai.NotFoundError, match="there is no such model here"):
        client.completions.create(model="no", prompt="a")
    with pytest.raises(openai.BadRequestError, match="the assistant has spoken last"):
        client.chat.completions.create(model="writer", messages=[{"role": "assistant", "content": "a"}])


def test_media_type_host_and_origin(here):
    body = b'{"model": "writer", "prompt": "a", "max_tokens": 1}'
    assert post(here, "/v1/completions", body, "Content-Type: text/plain\r\n")[0] == 415
    for host, status in [("localhost", 200), (f"127.0.0.1:{here.port}", 200), ("[::1]:80", 200), ("evil.example", 403), ("", 403), ("localhost.evil.example", 403)]:
        assert get(here, "/v1/models", host=host)[0] == status, host
    assert get(here, "/v1/models", "Origin: http://evil.example\r\n")[0] == 403
    assert get(here, "/v1/models", "Origin: null\r\n")[0] == 403
    assert get(here, "/v1/models", "Origin: http://localhost\r\n")[0] == 200


def test_senders_who_are_slow_are_cut(here):
    start = time.monotonic()
    found = send(here, b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    assert b" 408 " in found.split(b"\r\n")[0] and time.monotonic() - start < 5


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_who_goes_is_not_written_for(here, stream):
    engine = here.served["writer"].worker.engine
    body = json.dumps({"model": "writer", "prompt": "a", "max_tokens": 10**6, "stream": stream, "logit_bias": ENDLESS}).encode()
    with socket.create_connection(("127.0.0.1", here.port), timeout=10) as connection:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        until(lambda: engine.scheduler.running)
        assert not stream or b"200" in connection.recv(1000)
    assert until(lambda: not engine.asked) < 1.0
    assert engine.pages.available == engine.pages.count


def test_too_many_are_told_to_come_later(here):
    engine = here.served["writer"].worker.engine
    body = json.dumps({"model": "writer", "prompt": "a", "max_tokens": 10**6, "n": 8, "logit_bias": ENDLESS}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", here.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: engine.asked)
        found = send(here, head.encode() + body)
        assert b" 429 " in found.split(b"\r\n")[0] and b"retry-after: 1" in found.lower()
    until(lambda: not engine.asked)


def test_figures(here):
    status, text = get(here, "/metrics")
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert status == 200 and int(lines['ftheta_tokens_written_total{model="writer"}']) > 50
    assert int(lines['ftheta_requests_total{route="/v1/completions",status="200"}']) > 0
    assert lines['ftheta_first_token_seconds_bucket{model="writer",le="+Inf"}'] == lines['ftheta_first_token_seconds_count{model="writer"}']
    assert int(lines['ftheta_pages{model="writer"}']) == here.served["writer"].worker.engine.pages.count
    assert get(here, "/health") == (200, '{"status":"ok"}')


def test_a_key():
    for server in started([Served("classes", headed("text-classification", "classify"), Settings())], key="s3cret"):
        assert get(server, "/v1/models")[0] == 401 and get(server, "/v1/models", "Authorization: Bearer s3cre\r\n")[0] == 401
        assert get(server, "/v1/models", "Authorization: Bearer s3cret\r\n", host="anything.example")[0] == 200
        assert get(server, "/ready")[0] == 200 and get(server, "/metrics")[0] == 401
        known = json.loads(get(server, "/openapi.json", "Authorization: Bearer s3cret\r\n")[1])["paths"]
        walked = {f"{method.upper()} {path}": send(server, f"{method.upper()} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())[9:12]
                  for path, methods in known.items() for method in methods if path not in OPEN}
        assert len(walked) > 8 and set(walked.values()) == {b"401"}, walked


def test_an_answer_that_takes_too_long():
    for server in started([Served("writer", made("llama"), Settings())], seconds=0.2):
        status, found = post(server, "/v1/completions", json.dumps({"model": "writer", "prompt": "a", "max_tokens": 10**6, "logit_bias": ENDLESS}).encode())
        assert status == 504 and found["error"]["code"] == "deadline"


@pytest.mark.parametrize("options", [["--precision", "int8"], ["--draft", "tiny/model", "--ahead", "2"]], ids=["int8", "draft"])
def test_the_command_serves_until_it_is_told_to_stop(tmp_path, monkeypatch, options):
    """An answer under way when SIGTERM comes is written to its end."""
    model = made("llama")
    save(model, tmp_path / "tiny" / "model")
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "import ftheta.cli; ftheta.cli.main()", "serve", str(tmp_path / "tiny" / "model"), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert "tiny: text-generation; " in process.stdout.readline() and f"listening on http://127.0.0.1:{port}/v1" in process.stdout.readline()
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=20, timeout=60)
        pieces = iter(client.completions.create(model="tiny", prompt="a", max_tokens=150, seed=1, logit_bias=ENDLESS, stream=True))
        text = next(pieces).choices[0].text
        figures = dict(line.rsplit(" ", 1) for line in get(SimpleNamespace(port=port), "/metrics")[1].splitlines() if not line.startswith("#"))
        assert (int(figures['ftheta_guesses_right_total{model="tiny"}']) > 0) == ("--draft" in options)
        process.send_signal(signal.SIGTERM)
        text += "".join(piece.choices[0].text for piece in pieces)
        model.compute_in("int8" if "int8" in options else "float32")
        expected = model.predict({"prompt": "a", "most": 150, "seed": 1, "temperature": 1.0, "top_p": 1.0, "bias": ENDLESS})
        assert text == expected.text and process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()


def test_other_machines_need_a_key(monkeypatch):
    monkeypatch.delenv("FTHETA_KEY", raising=False)
    with pytest.raises(UsageError, match=r"host: 0\.0\.0\.0 can be reached from elsewhere, so a key is needed"):
        serve(["runs/a/model"], host="0.0.0.0")
    with pytest.raises(UsageError, match="two are called 'a'"):
        serve(["runs/a/model", "elsewhere/a"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match=f"port: nothing can listen on 127.0.0.1, port {taken.getsockname()[1]} .*: choose another port"):
            serve(["runs/a/model"], port=taken.getsockname()[1])                          # said before any model is opened
    with pytest.raises(UsageError, match=r"host: nothing can listen on 203\.0\.113\.1"):
        serve(["runs/a/model"], host="203.0.113.1", key="k")
    assert name_of("runs/python-lm/model") == "python-lm" and name_of("folder/llama") == "llama"
