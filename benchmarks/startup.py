"""Start-up: seconds from starting a process to its end, the smallest and the median of several fresh ones, file cache warm.

Measured are the command line's help texts, which must not import anything heavy, and importing the package, alone and with a verb that
needs torch (beside `import torch` by itself, which no verb can be quicker than). The slowest imports of the help text, by Python's own
import clock, are in the result file and are printed when a target is missed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import ROOT, Row, arguments, environment, progress, publish


class Start(NamedTuple):
    """A command and the seconds it may take."""

    what: str
    command: list[str]
    target: float | None


FTHETA = str(Path(sys.executable).with_name("ftheta"))
STARTS = (
    Start("ftheta --help", [FTHETA, "--help"], 0.3),
    Start("ftheta run --help", [FTHETA, "run", "--help"], None),
    Start('python -c "import ftheta"', [sys.executable, "-c", "import ftheta"], 1.0),
    Start('python -c "import ftheta; ftheta.run"', [sys.executable, "-c", "import ftheta; ftheta.run"], None),
    Start('python -c "import torch"', [sys.executable, "-c", "import torch"], None),
    Start('python -c "pass"', [sys.executable, "-c", "pass"], None),
)


def once(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def slowest_imports(module: str, most: int = 12) -> list[tuple[str, float]]:
    """Modules that take longest to import, with all they import, in milliseconds."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    found = []
    for line in done.stderr.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        together, _, name = rest.partition("|")
        if own.strip().isdigit():
            found.append((name.strip(), int(together) / 1e3))
    return sorted(found, key=lambda pair: -pair[1])[:most]


def main() -> None:
    parser = arguments(__doc__ or "", pairs=10)
    options = parser.parse_args()
    passes = 3 if options.quick else options.pairs
    for start in STARTS:
        once(start.command)
    found: dict[str, list[float]] = {start.what: [] for start in STARTS}
    for number in range(passes):
        for start in STARTS if number % 2 == 0 else reversed(STARTS):
            found[start.what].append(once(start.command))
    rows = []
    for start in STARTS:
        least, middle = min(found[start.what]), statistics.median(found[start.what])
        met = None if start.target is None else middle < start.target
        rows.append(Row(start.what, f"< {start.target:g} s" if start.target else "", f"median {middle:.2f} s, least {least:.2f} s", met))
    imports = {"ftheta.cli": slowest_imports("ftheta.cli"), "ftheta.lifecycle.lifecycle": slowest_imports("ftheta.lifecycle.lifecycle")}
    if not all(row.met in (None, True) for row in rows):
        for module, slow in imports.items():
            progress(f"slowest imports of {module}, milliseconds: " + ", ".join(f"{name} {value:.0f}" for name, value in slow))
    details: dict[str, Any] = {"seconds": found, "imports": imports}
    publish("startup", "Start-up", rows, details, options.quick)


if __name__ == "__main__":
    main()
