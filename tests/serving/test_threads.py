"""Engines and batches at work in threads of their own: the same answers, whoever asks at the same time."""

import threading
import time

import pytest

from ftheta.core.errors import ConfigError, UsageError
from ftheta.data.tokenizers.trained import EOS
from ftheta.serving.batcher import Batcher
from ftheta.serving.engine import QueueFull
from ftheta.serving.worker import Worker
from served import TEXTS, engine_of, headed, made


def test_many_threads_ask():
    model, found = made("llama"), {}
    worker = Worker(engine_of(model, 40, page=4, together=4, chunk=16))

    def ask(number: int) -> None:
        found[number] = worker.submit({"prompt": TEXTS[number % 5], "most": 12, "seed": number}).result(60)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker.close()
    assert found == {number: model.predict({"prompt": TEXTS[number % 5], "most": 12, "seed": number}) for number in range(10)}
    assert not worker.alive and not worker.engine.asked


def test_closing_lets_texts_end_or_cancels_them():
    worker = Worker(engine_of(made("llama")))
    short = worker.submit({"prompt": "a", "most": 3, "bias": {str(EOS): -1e9}})
    worker.close(60.0)
    assert short.result(0).tokens == 3
    worker = Worker(engine_of(made("llama")))
    endless = worker.submit({"prompt": "a", "most": 10**9, "bias": {str(EOS): -1e9}})
    worker.close()
    assert endless.result(0).finish == "cancelled"


def test_a_failed_step_is_not_the_end():
    worker = Worker(engine_of(made("llama")))
    run = worker.engine.runner.run
    worker.engine.runner.run = lambda work: 1 / 0
    with pytest.raises(ZeroDivisionError):
        worker.submit({"prompt": "a", "most": 3}).result(60)
    worker.engine.runner.run = run
    assert worker.submit({"prompt": "a", "most": 3}).result(60) == worker.engine.model.predict({"prompt": "a", "most": 3})
    worker.close()


def test_what_comes_together_is_run_together():
    model = headed("text-classification", "classify")
    batcher = Batcher(model, together=8, wait=5.0)
    sizes, run = [], model.task.run
    model.task.run = lambda inputs: (sizes.append(len(inputs)), run(inputs))[1]
    futures = [batcher.submit({"text": text}) for text in [*TEXTS, "one more"]]            # full, so that nobody waits 5 seconds
    answers = [future.result(60) for future in futures]
    assert sizes == [8]
    alone = [run([model.parse(text, None)])[0] for text in [*TEXTS, "one more"]]
    for answer, expected in zip(answers, alone, strict=True):
        assert answer.dump()["label"] == expected.dump()["label"]
    batcher.close()
    quick = Batcher(model, wait=0.01)
    start = time.monotonic()
    quick.submit("hello").result(60)
    assert time.monotonic() - start < 5
    quick.close()


def test_a_wrong_input_is_its_own_failure():
    model = headed("text-classification", "classify")
    batcher = Batcher(model, together=3, wait=5.0)
    run = model.task.run

    def refuses(inputs):
        if any(item.text == "bad" for item in inputs):
            raise UsageError("text: bad")
        return run(inputs)

    model.task.run = refuses
    good, bad, other = (batcher.submit(text) for text in ("good", "bad", "other"))
    assert good.result(60) and other.result(60)
    with pytest.raises(UsageError, match="bad"):
        bad.result(60)
    with pytest.raises(ConfigError, match="txt: no such field"):
        batcher.submit({"txt": "a"})
    with pytest.raises(ConfigError, match="did you mean"):
        batcher.submit("a", task="text-clasification")
    batcher.close()
    assert not batcher.alive


def test_a_full_line_refuses_and_the_cancelled_leave_it():
    model = headed("text-classification", "classify")
    batcher, gate, run = Batcher(model, together=1, wait=0.0, queue=2), threading.Event(), model.task.run
    seen = []
    model.task.run = lambda inputs: (gate.wait(60), seen.extend(item.text for item in inputs), run(inputs))[2]
    first = batcher.submit("first")
    while batcher.line:
        time.sleep(0.01)
    second, third = batcher.submit("second"), batcher.submit("third")
    with pytest.raises(QueueFull, match="2 at most"):
        batcher.submit("fourth")
    assert second.cancel()
    gate.set()
    assert first.result(60) and third.result(60) and seen == ["first", "third"]
    batcher.close()
