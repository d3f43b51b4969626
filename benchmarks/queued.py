"""Memory under a full queue: `ftheta serve` with as many requests waiting as it lets wait, for minutes. What its process holds (resident memory) at the start,
every minute and at the end, how many answers there were, and how many requests were refused with 429 and came again when they had been told to.

The model is stories260K (FTHETA_MIRROR). Clients are coroutines of one process, more of them than may wait and be written together; every one asks again as
soon as it has its answer. Prompts and numbers of new tokens are of random lengths, and prompts differ from their first word on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.common import Row, arguments, arm, environment, progress, publish
from benchmarks.serving import model_of
from ftheta.models.folder import save

SERVE = [sys.executable, "-c", "import sys; sys.argv[1:1] = ['serve']; import ftheta.cli; ftheta.cli.main()"]
TOGETHER = 32
MORE = 64
"""Clients beyond those that are written for or may wait."""
GROWTH = 0.05
"""Share by which the last minutes may hold more than those after the first."""


def queued(waiting: int, seconds: float, every: float) -> dict[str, Any]:
    """A server in a process of its own, and its clients."""
    with tempfile.TemporaryDirectory() as folder:
        place = save(model_of(None), Path(folder) / "stories")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [*SERVE, str(place), "--port", str(port), "--together", str(TOGETHER), "--queue", str(waiting)]
        process = subprocess.Popen(command, env={**environment(), "FTHETA_KEY": ""}, stdout=subprocess.DEVNULL)
        try:
            return asyncio.run(watched(port, process.pid, TOGETHER + waiting + MORE, seconds, every))
        finally:
            process.terminate()
            process.wait(120)


async def watched(port: int, pid: int, clients: int, seconds: float, every: float) -> dict[str, Any]:
    """Memory and queue while so many clients ask."""
    for _ in range(1200):
        with contextlib.suppress(OSError):
            await talk(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            break
        await asyncio.sleep(0.1)
    said: Counter[int] = Counter()
    start, end = time.monotonic(), time.monotonic() + seconds
    looks = [(0.0, resident(pid), 0)]
    asking = [asyncio.create_task(client(port, number, end, said)) for number in range(clients)]
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(every, left))
        looks.append((time.monotonic() - start, resident(pid), await waits(port)))
        progress(f"{looks[-1][0]:.0f} s: {looks[-1][1] / 1e6:.1f} MB, {looks[-1][2]} wait, answers {dict(said)}")
    await asyncio.gather(*asking)
    return {"clients": clients, "looks": looks, "answers": dict(said), "drained": resident(pid)}


async def client(port: int, number: int, end: float, said: Counter[int]) -> None:
    """Asks until the end; who is refused comes again when told to."""
    draws = random.Random(number)
    while time.monotonic() < end:
        prompt = f"{number} {draws.random()} " + "the little girl went to the park and " * draws.randint(0, 8)
        body = json.dumps({"model": "stories", "prompt": prompt, "max_tokens": draws.randint(4, 48)}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        answer = await talk(port, head.encode() + body)
        status = int(answer.split(b" ", 2)[1])
        said[status] += 1
        if status == 429:
            await asyncio.sleep(float(answer.lower().split(b"retry-after:")[1].split(b"\r\n")[0]))


async def talk(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def waits(port: int) -> int:
    """How many sequences wait, by the server's own figures."""
    figures = await talk(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return next(int(line.rsplit(b" ", 1)[1]) for line in figures.splitlines() if line.startswith(b"ftheta_waiting{"))


def resident(pid: int) -> int:
    """Bytes of memory a process holds."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return 1024 * int(line.split()[1])


def main() -> None:
    parser = arguments(__doc__ or "", pairs=1)
    parser.add_argument("--waiting", type=int, default=1000, help="requests that wait (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long (default: %(default)s)")
    options = parser.parse_args()
    waiting, seconds, every = (100, 10.0, 2.0) if options.quick else (options.waiting, 60 * options.minutes, 60.0)
    found = arm(queued, waiting=waiting, seconds=seconds, every=every)
    publish("queued", f"Memory with {waiting:,} requests waiting", rows_of(found), {"queued": [found]}, options.quick)


def rows_of(found: dict[str, Any]) -> list[Row]:
    """The table."""
    looks = found["looks"]
    rows = [Row(f"after {at:.0f} s, {line} waiting", "", f"{held / 1e6:.1f} MB") for at, held, line in looks]
    rows.append(Row("when all is answered", "", f"{found['drained'] / 1e6:.1f} MB"))
    held = [held for _, held, _ in looks[1:]]
    third = max(1, len(held) // 3)
    growth = statistics.mean(held[-third:]) / statistics.mean(held[:third]) - 1
    rows.append(Row("last third beside the first third", f"at most +{GROWTH:.0%}", f"{growth:+.1%}", growth <= GROWTH))
    others = found["answers"].keys() - {"200", "429", "504"}                               # 504: it waited longer than the server lets anybody wait
    answers = ", ".join(f"{count:,} of {status}" for status, count in sorted(found["answers"].items()))
    rows.append(Row("answers by status", "200, 429 and 504 only", answers, not others))
    return rows


if __name__ == "__main__":
    main()
