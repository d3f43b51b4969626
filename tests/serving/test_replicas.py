"""The app as replicas of Ray Serve on a cluster of several machines: streams, a full line, a replica that dies."""

import contextlib
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ftheta.core.errors import UsageError
from ftheta.data.tokenizers.trained import EOS
from ftheta.models.folder import load, save
from listening import get, post, send, until
from served import made

pytest.importorskip("uvicorn")

from ftheta.serving.http.order import Order
from ftheta.serving.http.server import between

NODES = Path(__file__).parents[1] / "data" / "corpus" / "nodes.py"
ENDLESS = {str(EOS): -100}
needs_serve = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ray", "grpc", "prometheus_client")), reason="pip install 'ftheta[replicas]'",
)


def test_how_many():
    assert between("ray", "2", False) == (2, 2) and between("ray", "1-4", False) == (1, 4)
    for on, replicas, apart, message in (
        ("rya", "1", False, "did you mean 'ray'"), ("ray", "0", False, "replicas: expected"), ("ray", "3-2", False, "replicas"), ("ray", "-2", False, "replicas"),
        ("ray", "many", False, "replicas"), ("ray", "1", True, "apart: replicas have processes of their own"),
    ):
        with pytest.raises(UsageError, match=message):
            between(on, replicas, apart)


def test_an_order_says_whole_places(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    order = Order(models=("here", "org/name"), adapters=("here:a=here",), draft="here")
    whole = str(tmp_path / "here")
    assert order.from_anywhere() == order.replace(models=(whole, "org/name"), adapters=(f"here:a={whole}",), draft=whole)
    assert Order.parse(json.loads(json.dumps(order.dump()))) == order


@contextlib.contextmanager
def machines(count: int, folder: Path) -> Iterator[dict[str, str]]:
    """A cluster of so many machines: what the environment has to say."""
    secret = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "FTHETA_KEY": "", "XDG_CACHE_HOME": str(folder)}
    process = subprocess.Popen([sys.executable, NODES, str(count)], env=secret, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield {**secret, "RAY_ADDRESS": process.stdout.readline().strip()}
    finally:
        process.communicate(timeout=60)


def replicas(secret: str) -> list[int]:
    """The processes of replicas of a cluster with this token."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"ray::ServeReplica" in (place / "cmdline").read_bytes() and secret.encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
    return found


def answers(here, **fields) -> tuple[int, dict]:
    return post(here, "/v1/completions", json.dumps({"model": "writer", "prompt": "hello", "seed": 1, "max_tokens": 8, **fields}).encode())


@needs_serve
@pytest.mark.slow
def test_replicas_on_two_machines(tmp_path):
    place = save(made("llama"), tmp_path / "writer")
    expected = load(place).predict({"prompt": "hello", "most": 8, "seed": 1, "temperature": 1.0, "top_p": 1.0}).text
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        here = SimpleNamespace(port=free.getsockname()[1])
    command = [sys.executable, "-c", "import ftheta.cli; ftheta.cli.main()", "serve", "writer", "--port", str(here.port), "--on", "ray", "--replicas", "2"]
    with machines(2, tmp_path / "machines") as cluster:
        process = subprocess.Popen([*command, "--together", "1", "--queue", "0"], stdout=subprocess.PIPE, text=True, env=cluster, cwd=tmp_path)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "2 replicas\n" and "listening" in process.stdout.readline()
            before = replicas(cluster["RAY_AUTH_TOKEN"])
            assert len(before) == 2 and get(here, "/ready")[0] == 200
            status, found = answers(here)
            assert status == 200 and found["choices"][0]["text"] == expected
            body = json.dumps({"model": "writer", "prompt": "hello", "seed": 1, "max_tokens": 8, "stream": True}).encode()
            head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            pieces = send(here, head.encode() + body)
            said = [json.loads(line[6:]) for line in pieces.decode().splitlines() if line.startswith("data: {")]
            assert "".join(piece["choices"][0]["text"] for piece in said) == expected and len(said) > 4 and b"[DONE]" in pieces

            body = json.dumps({"model": "writer", "prompt": "a", "max_tokens": 10**6, "stream": True, "logit_bias": ENDLESS}).encode()
            head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            with contextlib.ExitStack() as asking:
                firsts = []
                for _ in range(4):                                                        # one at a time in each, and nobody waits
                    connection = asking.enter_context(socket.create_connection(("127.0.0.1", here.port), timeout=30))
                    connection.sendall(head.encode() + body)
                    firsts.append(connection.recv(300))
                assert sum(b" 200 " in first for first in firsts) == 2 and sum(b" 429 " in first and b"retry-after" in first.lower() for first in firsts) == 2
            until(lambda: answers(here)[0] == 200, 10.0)                                  # their clients have gone

            os.kill(before[0], signal.SIGKILL)
            until(lambda: answers(here)[0] == 200, 30.0)
            assert all(answers(here)[1]["choices"][0]["text"] == expected for _ in range(10))
            until(lambda: len(replicas(cluster["RAY_AUTH_TOKEN"])) == 2, 60.0)
            assert before[0] not in replicas(cluster["RAY_AUTH_TOKEN"])
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            with pytest.raises(OSError):
                get(here, "/health")
        finally:
            process.kill()
            process.wait()


@needs_serve
@pytest.mark.slow
def test_there_are_more_where_there_is_more_to_do(tmp_path):
    """On a cluster of this machine's processes, which ends with the command: one replica that writes one text at a time is asked for six."""
    place, token = save(made("llama"), tmp_path / "writer"), secrets.token_hex(32)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        here = SimpleNamespace(port=free.getsockname()[1])
    command = [sys.executable, "-c", "import ftheta.cli; ftheta.cli.main()", "serve", str(place), "--port", str(here.port), "--on", "ray", "--replicas", "1-2"]
    environment = {**os.environ, "FTHETA_KEY": "", "RAY_AUTH_TOKEN": token}
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen([*command, "--together", "1"], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "1 to 2 replicas\n" and "listening" in process.stdout.readline()
        assert len(replicas(token)) == 1
        body = json.dumps({"model": "writer", "prompt": "a", "max_tokens": 10**6, "stream": True, "logit_bias": ENDLESS}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with contextlib.ExitStack() as asking:
            for _ in range(6):
                connection = asking.enter_context(socket.create_connection(("127.0.0.1", here.port), timeout=30))
                connection.sendall(head.encode() + body)
            until(lambda: len(replicas(token)) == 2, 60.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        until(lambda: not replicas(token), 20.0)
    finally:
        process.kill()
        process.wait()
