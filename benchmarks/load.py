"""Load: `ftheta serve` under 1 to 64 clients, each of which asks again as soon as it has its answer. Requests a second, the time to the first token, and the
time from one token to the next, at the 50th, 95th and 99th percentile.

The model is stories260K (FTHETA_MIRROR), answers are greedy streams of `--most` tokens, which hardly ever end sooner; prompts differ from their first word on,
so that no beginning is known. `--servers` names others to be put under the same load: each opens the same folder and takes the same requests, and whether it
writes the same text is said. Clients are threads of one process beside the server's, on the same processors, and read the events as they come.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import Row, arguments, arm, environment, publish
from benchmarks.serving import model_of
from ftheta.models.folder import save

PERCENTILES = (50, 95, 99)
OURS, THEIRS = "ftheta serve", "transformers serve"
BEGINNING = "Once upon a time"
SERVERS = {
    OURS: [sys.executable, "-c", "import sys; sys.argv[1:1] = ['serve']; import ftheta.cli; ftheta.cli.main()", "--together", "64"],
    THEIRS: [str(Path(sys.executable).with_name("transformers")), "serve", "--quiet", "--host", "127.0.0.1", "--device", "cpu"],
    f"{THEIRS}, continuous batching": [
        str(Path(sys.executable).with_name("transformers")), "serve", "--continuous-batching", "--host", "127.0.0.1", "--device", "cpu",
        "--cb-max-batch-tokens", "512", "--cb-num-blocks", "512",
    ],
    "ctranslate2": [sys.executable, "-m", "benchmarks.ctranslate2_server"],
}
"""Commands, of which three words come before the model's folder."""


def served(server: str, clients: int, seconds: float, most: int) -> dict[str, Any]:
    """A server in a process of its own, and its clients."""
    with tempfile.TemporaryDirectory() as folder:
        model = model_of(None)
        end = model.processor.id("eos")                                                   # type: ignore[attr-defined]
        place = save(model, Path(folder) / "stories")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [*SERVERS[server][:3], str(place), "--port", str(port), *SERVERS[server][3:]]
        alone = {**environment(), "FTHETA_KEY": "", "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(command, env=alone, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait(port)
            asked = {"max_tokens": most, "temperature": 0, "stream": True}
            asked |= {"model": "stories", "logit_bias": {str(end): -100}} if server == OURS else {"model": str(place)}
            _, _, text = ask(port, {**asked, "prompt": BEGINNING})
            return {**load(port, asked, clients, seconds), "text": text}
        finally:
            process.terminate()
            process.wait(60)


def wait(port: int) -> None:
    """Until it answers."""
    for _ in range(1200):
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server does not listen")


def ask(port: int, body: dict[str, Any]) -> tuple[float, list[float], str]:
    """Seconds to the first piece, and from each to the next; and the whole text."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {response.read().decode()}")
    times, text = [], ""
    while line := response.readline():
        if line.startswith(b"data: {"):
            times.append(time.perf_counter())
            text += "".join(choice["text"] for choice in json.loads(line[6:])["choices"])
    connection.close()
    return times[0] - start, [later - sooner for sooner, later in itertools.pairwise(times)], text


def load(port: int, asked: dict[str, Any], clients: int, seconds: float) -> dict[str, Any]:
    """What so many clients see in so many seconds; requests under way at the end are finished and counted."""
    first, gaps, failed = list[float](), list[float](), list[str]()
    start = time.perf_counter()

    def client(number: int) -> None:
        turn = 0
        try:
            while time.perf_counter() - start < seconds:
                found, between, _ = ask(port, {**asked, "prompt": f"{number} {turn} little girls went to the park and"})
                first.append(found)
                gaps.extend(between)
                turn += 1
        except Exception as error:
            failed.append(repr(error))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"{len(failed)} clients failed: {failed[0]}")
    passed = time.perf_counter() - start
    return {
        "clients": clients, "requests": len(first), "rate": len(first) / passed, "tokens": len(gaps) / passed,
        "first": percentiles(first), "gap": percentiles(gaps),
    }


def percentiles(values: Sequence[float]) -> list[float]:
    """Milliseconds at each."""
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else list(values) * 99
    return [1000 * cuts[percent - 1] for percent in PERCENTILES]


def main() -> None:
    parser = arguments(__doc__ or "", pairs=1)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="how many at a time (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each number of clients (default: %(default)s)")
    parser.add_argument("--most", type=int, default=64, help="tokens of an answer (default: %(default)s)")
    known = ", ".join(map(repr, SERVERS))
    parser.add_argument("--servers", nargs="+", choices=list(SERVERS), default=[OURS], metavar="NAME", help=f"of {known} (default: {OURS})")
    options = parser.parse_args()
    clients, seconds = ([1, 8], 2.0) if options.quick else (options.clients, options.seconds)
    found = {}
    for count in clients:
        for server in options.servers:
            name = f"{server}, {count} clients"
            found[name] = [arm(served, server=server, clients=count, seconds=seconds, most=options.most)]
            print(f"{name}: {line(found[name][0])}{same(found[name][0], found[f'{options.servers[0]}, {count} clients'][0])}", flush=True)
    rows = [Row(name, "", line(results[0])) for name, results in found.items()]
    publish("load", "Load: a server and its clients on the same processors", rows, found, options.quick)


def same(result: dict[str, Any], first: dict[str, Any]) -> str:
    """Whether it writes what the first of the servers does."""
    return "" if result["text"] == first["text"] else f"; ANOTHER TEXT: {result['text']!r} instead of {first['text']!r}"


def line(result: dict[str, Any]) -> str:
    first, gap = (" / ".join(f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in result[name]) for name in ("first", "gap"))
    return f"{result['rate']:.1f} requests/s, {result['tokens']:,.0f} tokens/s, first token {first} ms, between pieces {gap} ms (p50 / p95 / p99)"


if __name__ == "__main__":
    main()
