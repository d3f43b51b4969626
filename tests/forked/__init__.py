"""`ftheta` and `python` as commands that start in milliseconds: real processes with exit codes, each a fork of one that has imported everything."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def commands(change: Path | None = None) -> Iterator[dict[str, str]]:
    """An environment whose PATH has both. `change` is the file of a module that may change what is carried out (server.py)."""
    with tempfile.TemporaryDirectory(prefix="ftheta-forked-") as folder:
        place, bin_ = Path(folder) / "socket", Path(folder) / "bin"
        bin_.mkdir()
        for program in ("ftheta", "python"):
            (bin_ / program).write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{HERE / "client.py"}" {program} "$@"\n')
            (bin_ / program).chmod(0o755)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "120", "TERM": "dumb"}
        paths = [str(change.parent)] if change is not None else []
        server = subprocess.Popen(
            [sys.executable, HERE / "server.py", place, *([change.stem] if change is not None else [])], stdout=subprocess.PIPE, text=True,
            env={**environment, "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [environment.get("PYTHONPATH")])])},
        )
        try:
            assert server.stdout is not None and server.stdout.readline() == "ready\n"
            yield {**environment, "PATH": f"{bin_}:{Path(sys.executable).parent}:{os.environ['PATH']}", "FTHETA_FORKED": str(place)}
        finally:
            server.kill()
            server.wait()
