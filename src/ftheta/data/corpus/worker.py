"""`python -m ftheta.data.corpus.worker`: performs the steps that its standard input names, a line of JSON each, and answers each with a line."""

from __future__ import annotations

import json
import os
import signal
import sys

import pyarrow as pa

from ftheta.core.log import configure
from ftheta.core.memory import give_back
from ftheta.data.corpus.step import answer


def main() -> None:
    """Answer orders until there are none; what libraries print goes to standard error, so that answers stay whole."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)                                          # Ctrl-C is for the process that gives the orders
    configure()
    pa.set_memory_pool(pa.system_memory_pool())                                           # Arrow's own keeps what it has freed, a hundred megabytes of it
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
        give_back()


if __name__ == "__main__":
    main()
