"""R27 and R29 to R34 for a server: pictures that are bombs, slow readers and senders, engines that die, a queue that is always full, nothing left behind."""

import base64
import gc
import io
import json
import os
import socket
import threading
import time

import pytest
from tests.conformance.test_architectures import fitted

from ftheta.data.processors.image import ImageProcessor
from ftheta.data.tokenizers.trained import EOS
from ftheta.models.model import Model
from ftheta.serving.engine import QueueFull
from ftheta.serving.http.served import Served
from ftheta.serving.settings import Settings
from ftheta.serving.worker import Worker
from listening import get, post, started, until
from served import engine_of, made

ENDLESS = {str(EOS): -100}


def asks(path: str, **fields) -> bytes:
    body = json.dumps({"model": "writer", "prompt": "a", **fields}).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def resident() -> int:
    """Bytes of memory this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def no_collector():
    """What is given up may not wait for the garbage collector to come by."""
    gc.disable()
    yield
    gc.enable()


def test_a_reader_who_is_slow_is_cut(no_collector):
    """A stream nobody reads fills what lies between; then its sequence is given up at once, while others are answered."""
    for here in started([Served("writer", made("llama"), Settings(together=2, queue=4))], slow=0.5, buffer=8192):
        engine = here.served["writer"].worker.engine
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", here.port))
            reader.sendall(asks("/v1/completions", max_tokens=10**6, stream=True, n=2, logprobs=5, logit_bias=ENDLESS))
            until(lambda engine=engine: engine.asked)
            assert until(lambda engine=engine: not engine.asked, 60.0) > 0.5
            assert engine.pages.available == engine.pages.count
            assert post(here, "/v1/completions", b'{"model": "writer", "prompt": "a", "max_tokens": 2}')[0] == 200


def test_a_sender_who_is_slow_is_cut():
    """One who sends a byte now and then is cut as one who sends nothing."""
    for here in started([Served("writer", made("llama"), Settings())], slow=0.6):
        with socket.create_connection(("127.0.0.1", here.port), timeout=10) as sender:
            whole, start = asks("/v1/completions", max_tokens=2), time.monotonic()
            sender.sendall(whole[:-30])
            with pytest.raises(OSError):
                for at in range(len(whole) - 30, len(whole)):
                    time.sleep(0.2)
                    sender.sendall(whole[at : at + 1])
                    if b" 408 " in sender.recv(4096, socket.MSG_DONTWAIT) if at > len(whole) - 26 else b"":
                        raise OSError("cut")
            assert time.monotonic() - start < 5


def test_an_engine_that_dies_is_a_failure_of_the_server_and_begins_again():
    for here in started([Served("writer", made("llama"), Settings())]):
        worker = here.served["writer"].worker
        run, fail = worker.engine.runner.run, [True]

        def dies(work, run=run, fail=fail):
            if fail[0]:
                raise SystemExit("gone")
            return run(work)

        worker.engine.runner.run = dies
        status, found = post(here, "/v1/completions", b'{"model": "writer", "prompt": "a", "max_tokens": 2}')
        assert status == 500 and found["error"]["code"] == "internal_error" and "gone" not in json.dumps(found)
        until(lambda worker=worker: not worker.thread.is_alive())
        assert get(here, "/ready")[0] == 503 and get(here, "/health")[0] == 200
        fail[0] = False
        expected = worker.engine.model.predict({"prompt": "a", "most": 5, "seed": 1, "temperature": 1.0, "top_p": 1.0})
        status, found = post(here, "/v1/completions", b'{"model": "writer", "prompt": "a", "max_tokens": 5, "seed": 1}')
        assert status == 200 and found["choices"][0]["text"] == expected.text and get(here, "/ready")[0] == 200


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_memory_is_flat_while_a_thousand_wait(seconds):
    """A queue that is always full, answers that come and go; after a third of the time no more memory is taken."""
    worker = Worker(engine_of(made("llama"), 64, page=4, together=8, queue=1000, reuse=True))
    waiting, done, refused, seed, before, start = [], 0, 0, 0, 0, float("inf")
    while (passed := time.monotonic() - start) < seconds:
        seed += 1
        try:
            waiting.append(worker.submit({"prompt": f"hello {seed}", "most": 4, "seed": seed}))
        except QueueFull as full:
            assert full.after > 0
            start = min(start, time.monotonic())                                          # from now on the queue is full
            refused += 1
            time.sleep(0.01)
            done += sum(each.done.done() for each in waiting)
            waiting = [each for each in waiting if not each.done.done()]
        if not before and passed > seconds / 3:
            gc.collect()
            before = resident()
            assert len(worker.engine.scheduler.waiting) > 900
    gc.collect()
    assert resident() - before < 16 << 20 and done > 50 and refused > 10
    worker.close()
    assert all(each.done.done() for each in waiting) and not worker.engine.asked and worker.engine.pages.available == worker.engine.pages.count


def test_a_picture_that_is_a_bomb_is_refused_before_it_is_decoded():
    """A few kilobytes of 400 million pixels; whoever asks beside it is answered."""
    pillow = pytest.importorskip("PIL.Image")
    sink = io.BytesIO()
    pillow.new("1", (20_000, 20_000)).save(sink, "PNG")
    model = Model(fitted("resnet"), ImageProcessor((8, 8), 1), "image-classification")
    for here in started([Served("pictures", model, Settings())]):
        before = resident()
        status, found = post(here, "/predict/image-classification", json.dumps({"data": base64.b64encode(sink.getvalue()).decode()}).encode())
        assert status == 400 and found["error"]["message"].startswith("picture 0: more than the 64,000,000 pixels allowed"), found
        assert resident() - before < 100 << 20
        assert post(here, "/predict/image-classification", json.dumps({"pixels": [[0.5] * 8] * 8}).encode())[0] == 200


def test_nothing_is_left_behind():
    threads, files = {each.ident for each in threading.enumerate()}, len(os.listdir("/proc/self/fd"))
    for here in started([Served("writer", made("llama"), Settings())]):
        assert post(here, "/v1/completions", b'{"model": "writer", "prompt": "a", "max_tokens": 2}')[0] == 200
    gc.collect()
    left = [each.name for each in threading.enumerate() if each.ident not in threads]
    assert not [name for name in left if "ftheta" in name or "asyncio" in name] and len(os.listdir("/proc/self/fd")) <= files + 1
