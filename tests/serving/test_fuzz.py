"""Whatever is sent, the answer is one of those the server's own schema tells of: no failure of the server, nothing said back, models alive."""

import json
import random
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from ftheta.serving.settings import Settings
from listening import get, post, send, started
from served import headed, made

schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("uvicorn")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance  # noqa: E402

from ftheta.serving.http.served import Served  # noqa: E402

SECONDS = 0.3
"""In which an answer must be there; a text that has no end is given up with 504."""
KNOWN = {200, 400, 404, 405, 413, 415, 429, 504}
SECRET = b"xyzzy-plugh"
ROUTES = ["/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/evidence", "/predict/text-generation", "/predict/text-classification", "/predict/feature-extraction"]


@pytest.fixture(scope="module")
def here() -> Iterator[SimpleNamespace]:
    writer = made("llama")
    writer.processor.chat_template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    yield from started([
        Served("writer", writer, Settings(together=4, queue=300, page=4)), Served("vectors", headed("feature-extraction", "embed"), Settings()),
        Served("classes", headed("text-classification", "classify"), Settings()),
    ], body=50_000, slow=1.0, seconds=SECONDS)


@pytest.fixture(scope="module")
def documented(here):
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{here.port}/openapi.json")


def named(draws: random.Random, case) -> None:
    """Most bodies name a model, so that more than the name is looked at."""
    if isinstance(case.body, dict) and "model" in case.body and draws.random() < 0.8:
        case.body["model"] = draws.choice(["writer", "vectors", "classes"])


def checked(here, case) -> int:
    """The status of an answer that is one of those the schema tells of."""
    named(random.Random(repr(case.body)), case)
    response = case.call(timeout=20)
    status = response.status_code
    assert status in KNOWN, (status, response.text)
    if status != 504:
        case.validate_response(response, checks=[not_a_server_error, response_schema_conformance, status_code_conformance])
    if status >= 400:
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["message"] and error["code"], error
        assert status != 504 or error["code"] == "deadline"
    assert all(each.alive for each in here.served.values())
    return status


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_field_of_every_route(here, documented, path, mode):
    """Bodies that fit the schema, and bodies that do not, which are all refused."""
    found = []

    @settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=documented[path]["POST"].as_strategy(generation_mode=mode))
    def sent(case):
        found.append(checked(here, case))

    sent()
    assert len(found) > 5 and get(here, "/ready")[0] == 200
    assert mode.is_positive or 200 not in found


BODIES = {
    "nothing": b"", "no object": b"[]", "a number": b"1", "null": b"null", "half": b'{"model": "writer", "prompt": ', "two": b'{"model": "writer"}{}',
    "bytes": bytes(range(256)),
    "nan": b'{"model": "writer", "prompt": "a", "top_p": NaN}', "surrogate": b'{"model": "writer", "prompt": "\\udfff", "input": "\\udfff", "text": "\\udfff"}',
    "utf-16": json.dumps({"model": "writer", "prompt": "a"}).encode("utf-16"), "list": json.dumps({"model": "writer", "prompt": ["a"] * 5_000}).encode(),
    "deep": b'{"model":' * 5_000, "negative": b'{"model": "writer", "prompt": "a", "text": "a", "most": -1, "max_tokens": -1, "encoding_format": -1, "messages": -1}',
    "absurd": b'{"model": "writer", "prompt": "a", "text": "a", "most": 1e400, "max_tokens": 1e400, "dimensions": 1e400, "messages": 1e400}',
    "twice": b'{"model": "writer", "model": "' + SECRET + b'", "prompt": "a", "input": "a", "messages": [{"role": "user", "content": "a"}]}',
    "path": b'{"model": "../../../etc/' + SECRET + b'", "prompt": "a", "input": "a", "messages": [{"role": "user", "content": "a"}]}',
    "nul": b'{"model": "writer\\u0000' + SECRET + b'", "prompt": "a", "input": "a", "messages": [{"role": "user", "content": "a"}]}',
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", BODIES)
def test_bodies_that_are_none(here, path, body):
    status, found = post(here, path, BODIES[body])
    assert status in (400, 404) and set(found["error"]) == {"message", "type", "param", "code"}, found
    assert SECRET.decode() not in json.dumps(found)


@pytest.mark.parametrize("path", ROUTES)
def test_media_types(here, path):
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/xml", "", "application/json-seq", SECRET.decode()):
        status, found = post(here, path, b"{}", f"Content-Type: {kind}\r\n")
        assert status == 415 and SECRET.decode() not in json.dumps(found)


@pytest.mark.parametrize("path", [
    "/predict/../v1/models", "/predict/%2e%2e/%2e%2e/etc/passwd", "/v1/" + "a" * 9_000, "//etc/passwd", "/predict/text-generation/%00", "/v1/models/%ff",
])
def test_places_that_are_none(here, path):
    status, found = post(here, path, b"{}")
    assert 400 <= status < 500 and set(found["error"]) == {"message", "type", "param", "code"} and "etc" not in json.dumps(found)
    assert 400 <= get(here, path)[0] < 500


def test_a_body_of_a_hundred_megabytes(here):
    """Refused by its length before it is sent; without a length, as soon as it is too much."""
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    start = time.monotonic()
    assert b" 413 " in send(here, f"{head}Content-Length: {100 << 20}\r\n\r\n".encode()).split(b"\r\n")[0]
    piece, took = b"8000\r\n" + b" " * 0x8000 + b"\r\n", 0
    with socket.create_connection(("127.0.0.1", here.port), timeout=20) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range((100 << 20) // 0x8000):
                connection.sendall(piece)
                took += 0x8000
        except OSError:                                                                   # the server has closed it
            pass
    assert took < 50 << 20 and time.monotonic() - start < 5 and get(here, "/ready")[0] == 200
