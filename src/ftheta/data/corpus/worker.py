"""`python -m ftheta.data.corpus.worker`: performs the steps that its standard input names, a line of JSON each, and answers each with a line."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import pyarrow as pa

from ftheta.core.log import configure
from ftheta.core.memory import give_back, resident
from ftheta.data.corpus.step import answer

HELD = 240 << 20
"""Bytes in memory between two orders with which a process ends itself: what it has freed in pieces is given back only so, and grows from order to order."""


def main() -> None:
    """Answer orders until there are none, or the answer says `ended`; what libraries print goes to standard error, so that answers stay whole."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)                                          # Ctrl-C is for the process that gives the orders
    configure()
    pa.set_memory_pool(pa.system_memory_pool())                                           # Arrow's own keeps what it has freed, a hundred megabytes of it
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    ended = False
    while not ended and (line := sys.stdin.readline()):
        said: dict[str, Any] = answer(json.loads(line))
        give_back()
        ended = (resident("VmRSS") or 0) > HELD
        print(json.dumps({**said, "ended": ended}), file=answers, flush=True)


if __name__ == "__main__":
    main()
