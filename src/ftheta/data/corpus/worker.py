"""`python -m ftheta.data.corpus.worker`: performs the steps that its standard input names, a line of JSON each, and answers each with a line."""

from __future__ import annotations

import json
import os
import signal
import sys

from ftheta.core.errors import DataError, FthetaError
from ftheta.core.log import configure
from ftheta.data.corpus.step import perform_order


def main() -> None:
    """Answer orders until there are none; what libraries print goes to standard error, so that answers stay whole."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)                                          # Ctrl-C is for the process that gives the orders
    configure()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer = {"folder": str(perform_order(json.loads(line)))}
        except FthetaError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        except OSError as error:
            answer = {"error": DataError.__name__, "message": f"{error.filename or 'a folder'}: {error.strerror}; what is finished stays, run the same command again"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
