"""Models in a process of their own: answers are the same, and when it is killed those who wait are told, /ready says so, and it comes back."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ftheta.data.tokenizers.trained import EOS
from ftheta.models.folder import load, save
from listening import get, post, send, until
from served import made

pytest.importorskip("uvicorn")
openai = pytest.importorskip("openai")

ENDLESS = {str(EOS): -100}


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[SimpleNamespace]:
    """`ftheta serve --apart`, and how it is asked."""
    place = save(made("llama"), folder / "writer")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "import ftheta.cli; ftheta.cli.main()", "serve", str(place), "--port", str(port), "--apart", "--queue", "2", "--together", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "FTHETA_KEY": ""})
    try:
        assert process.stdout is not None
        assert "writer: text-generation; " in process.stdout.readline() and "listening" in process.stdout.readline()
        found = SimpleNamespace(port=port, process=process, model=load(place))
        until(lambda: reached(found), 30.0)
        yield found
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Iterator[SimpleNamespace]:
    with serving(tmp_path_factory.mktemp("apart")) as found:
        yield found


@pytest.fixture()
def ending(tmp_path) -> Iterator[SimpleNamespace]:
    """One of its own for a test that ends it."""
    with serving(tmp_path) as found:
        yield found


def reached(here) -> bool:
    try:
        return get(here, "/ready")[0] == 200
    except OSError:
        return False


def behind(here) -> int:
    """The process that holds the models."""
    (child,) = Path(f"/proc/{here.process.pid}/task/{here.process.pid}/children").read_text().split()
    return int(child)


def figure(here, name: str) -> int:
    lines = dict(line.rsplit(" ", 1) for line in get(here, "/metrics")[1].splitlines() if not line.startswith("#"))
    return int(lines[f'ftheta_{name}{{model="writer"}}'])


def test_it_is_the_same_server(here):
    """Whole and streamed answers, errors, a full line, and a client who goes."""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{here.port}/v1", api_key="any", max_retries=0, timeout=60) as client:
        asked = {"model": "writer", "prompt": "hello", "max_tokens": 30, "seed": 1, "logit_bias": ENDLESS}
        expected = here.model.predict({"prompt": "hello", "most": 30, "seed": 1, "temperature": 1.0, "top_p": 1.0, "bias": ENDLESS})
        assert client.completions.create(**asked).choices[0].text == expected.text
        pieces = [piece.choices[0].text for piece in client.completions.create(**asked, stream=True)]
        assert "".join(pieces) == expected.text and len(pieces) > 10
        with pytest.raises(openai.NotFoundError, match="there is no such model here"):
            client.completions.create(model="no", prompt="a")
    assert post(here, "/v1/completions", b"{")[1]["error"]["code"] == "invalid_json"
    large = send(here, b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n\r\n{")
    assert b" 413 " in large.split(b"\r\n")[0]
    assert get(here, "/v1/models", host="evil.example")[0] == 403
    chunked = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    halves = [b'{"model": "writer", ', b'"prompt": "a", "max_tokens": 2}']
    assert b" 200 " in send(here, chunked + b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in halves) + b"0\r\n\r\n").split(b"\r\n")[0]
    body = json.dumps({"model": "writer", "prompt": "a", "max_tokens": 10**6, "n": 4, "stream": True, "logit_bias": ENDLESS}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", here.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: figure(here, "running") == 2)
        refused = send(here, head.encode() + body)
        assert b" 429 " in refused.split(b"\r\n")[0] and b"retry-after: 1" in refused.lower()
    assert until(lambda: figure(here, "running") == figure(here, "waiting") == 0) < 2.0


def test_killed_and_back(here):
    found, streamed = [], []
    endless = {"model": "writer", "prompt": "a", "max_tokens": 10**6, "logit_bias": ENDLESS}

    def whole() -> None:
        found.append(post(here, "/v1/completions", json.dumps(endless).encode()))

    def stream() -> None:
        body = json.dumps({**endless, "stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        streamed.append(send(here, head.encode() + body, wait=60.0))

    waiting = [threading.Thread(target=each) for each in (whole, stream)]
    for thread in waiting:
        thread.start()
    until(lambda: figure(here, "running") == 2)
    old = behind(here)
    os.kill(old, signal.SIGKILL)
    for thread in waiting:
        thread.join(20)
    ((status, answer),) = found
    assert status == 502 and answer["error"]["code"] == "engine_died" and answer["error"]["type"] == "server_error"
    assert b" 200 " in streamed[0].split(b"\r\n")[0] and b"engine_died" in streamed[0][-400:] and b"[DONE]" not in streamed[0]
    status, answer = post(here, "/v1/completions", b'{"model": "writer", "prompt": "a", "max_tokens": 2}')
    assert (status, answer["error"]["code"]) in ((503, "starting"), (502, "engine_died"))     # a dying process may still take what comes, for a moment
    until(lambda: get(here, "/ready")[0] == 503)
    assert get(here, "/health")[0] == 200
    until(lambda: get(here, "/ready")[0] == 200, 60.0)
    assert behind(here) != old
    expected = here.model.predict({"prompt": "a", "most": 5, "seed": 1, "temperature": 1.0, "top_p": 1.0})
    status, answer = post(here, "/v1/completions", b'{"model": "writer", "prompt": "a", "max_tokens": 5, "seed": 1}')
    assert status == 200 and answer["choices"][0]["text"] == expected.text


def test_it_ends_with_the_one_before_it(ending):
    """Told to stop, an answer under way is written to its end; killed, what is behind does not stay."""
    left = behind(ending)
    with openai.OpenAI(base_url=f"http://127.0.0.1:{ending.port}/v1", api_key="any", max_retries=0, timeout=60) as client:
        pieces = iter(client.completions.create(model="writer", prompt="a", max_tokens=100, seed=1, logit_bias=ENDLESS, stream=True))
        text = next(pieces).choices[0].text
        ending.process.send_signal(signal.SIGTERM)
        text += "".join(piece.choices[0].text for piece in pieces)
    assert text == ending.model.predict({"prompt": "a", "most": 100, "seed": 1, "temperature": 1.0, "top_p": 1.0, "bias": ENDLESS}).text
    assert ending.process.wait(60) in (0, -signal.SIGTERM)
    until(lambda: not Path(f"/proc/{left}").exists() or "Z" in Path(f"/proc/{left}/stat").read_text().split()[2], 20.0)


def test_nothing_stays_when_the_front_is_killed(ending):
    left = behind(ending)
    ending.process.kill()
    ending.process.wait()
    until(lambda: not Path(f"/proc/{left}").exists() or "Z" in Path(f"/proc/{left}/stat").read_text().split()[2], 20.0)


def test_what_cannot_be_opened_is_said_as_ever(tmp_path):
    command = [sys.executable, "-c", "import ftheta.cli; ftheta.cli.main()", "serve", str(tmp_path / "none")]
    plain, apart = (subprocess.run([*command, *more], capture_output=True, text=True, timeout=60) for more in ([], ["--apart"]))
    assert plain.returncode == apart.returncode != 0 and plain.stderr == apart.stderr and "none" in apart.stderr
