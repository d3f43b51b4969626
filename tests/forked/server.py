"""Carries out `ftheta` and `python` for tests. Everything is imported once, then every command is a fork of this process.

Run as a program: `server.py SOCKET [MODULE]`. A client (client.py) sends arguments, folder, environment and its three standard files, and gets the
exit code. `MODULE.change(program, arguments)` may change what is carried out, in the command's own process.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable

import pyarrow.parquet  # noqa: F401  (this and the next four are imported late otherwise, by every command anew)
import sklearn.cluster
import sklearn.datasets
import sklearn.ensemble
import sklearn.linear_model  # noqa: F401
import torch

import ftheta
import ftheta.cli
from ftheta.lifecycle.pictures import curves


def carry_out(command: dict, change: Callable[[str, list[str]], list[str]]) -> int:
    """The exit code of one command, in this (forked) process."""
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    program, *arguments = command["arguments"]
    try:
        arguments = change(program, arguments)
        if program == "ftheta":
            sys.argv = ["ftheta", *arguments]
            ftheta.cli.main()
        else:
            sys.argv = arguments
            with open(arguments[0], encoding="utf-8") as file:
                exec(compile(file.read(), arguments[0], "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve(place: str, change: Callable[[str, list[str]], list[str]]) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen()
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)                                         # children are not waited for: their client is told by themselves
    while True:
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        message, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        code = carry_out(json.loads(message), change)
        sys.stdout.flush()
        sys.stderr.flush()
        connection.send(str(code).encode())
        os._exit(0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(ftheta.__path__, "ftheta."):
        importlib.import_module(module.name)
    curves([{"step": 1, "loss": 1.0}], "fonts are found once")
    serve(sys.argv[1], importlib.import_module(sys.argv[2]).change if sys.argv[2:] else lambda program, arguments: arguments)
