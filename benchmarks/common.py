"""What every comparison shares: one environment for all sides, a fresh process per arm, order ABBA, medians of pairwise ratios with
their spread, ceilings, and one result file.

An arm is a function of a benchmark's module that returns plain data; it is called in a process of its own, so that no side warms
another's caches and imports never count.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
THREADS = 2
ENVIRONMENT = {
    "OMP_NUM_THREADS": str(THREADS), "GOMP_SPINCOUNT": "10000",
    "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "TRANSFORMERS_VERBOSITY": "error",
}
"""The same for all arms: two threads that sleep while they wait."""
PACKAGES = (
    "torch", "numpy", "safetensors", "tokenizers", "transformers", "accelerate", "torch-geometric", "scikit-learn", "rensa", "datasketch", "datatrove", "trl", "ftfy", "py3langid",
    "gigatoken", "tiktoken",
)


class Row(NamedTuple):
    """One line of a result's table; `met` is None where there is nothing to reach."""

    what: str
    target: str
    measured: str
    met: bool | None = None


# arms


def environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT}


def arm(function: Callable[..., dict[str, Any]], /, **parameters: Any) -> dict[str, Any]:
    """What a module-level function returns when called in a fresh process with the common environment. Raises RuntimeError with its last lines."""
    module = function.__module__ if function.__module__ != "__main__" else sys.modules["__main__"].__spec__.name                # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.common", module, function.__name__, json.dumps(parameters), str(place)]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{function.__name__}({parameters}) failed:\n" + "\n".join((done.stdout + done.stderr).splitlines()[-20:]))
        return json.loads(place.read_text())


def alternate(arms: Mapping[str, Callable[[], dict[str, Any]]], passes: int, show: Callable[[dict[str, Any]], str]) -> dict[str, list[dict[str, Any]]]:
    """Every arm once a pass, every other pass in the opposite order (ABBA); what the arms returned, pass by pass."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for number in range(passes):
        for name in list(arms) if number % 2 == 0 else list(reversed(arms)):
            found[name].append(arms[name]())
            progress(f"pass {number + 1} of {passes}: {name}: {show(found[name][-1])}")
    return found


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# figures


class Ratio(NamedTuple):
    """Median of pairwise quotients, the smallest and the largest of them."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}× ({self.low:.2f} to {self.high:.2f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    quotients = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(quotients), min(quotients), max(quotients))


def spread(values: Sequence[float], unit: str = "", form: str = ",.0f") -> str:
    """Median with the smallest and the largest value."""
    return f"{statistics.median(values):{form}}{unit} ({min(values):{form}} to {max(values):{form}})"


# results


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The machine, and how busy it was: with a load well above what the benchmark itself causes, figures are not to be trusted."""
    from ftheta.core.device import facts

    return {**facts(), "threads": THREADS, "load": round(os.getloadavg()[0], 1)}


def arguments(text: str, pairs: int = 5) -> argparse.ArgumentParser:
    """The options every benchmark has."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short run to see that everything works; prints, and writes no result file")
    parser.add_argument("--pairs", type=int, default=pairs, help="how often every arm is measured (default: %(default)s)")
    return parser


def publish(name: str, title: str, rows: Sequence[Row], details: Mapping[str, Any], quick: bool) -> None:
    """Print the table; unless it was a quick run, write `results/NAME.json` and render the documentation's tables anew."""
    print(f"\n{title}\n{table(rows)}")
    if quick:
        return
    RESULTS.mkdir(exist_ok=True)
    result = {
        "name": name, "title": title, "command": f"python -m benchmarks.{name}", "date": datetime.date.today().isoformat(), "machine": machine(),
        "versions": versions(), "rows": [row._asdict() for row in rows], "details": dict(details),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    importlib.import_module("benchmarks.report").main()


def table(rows: Sequence[Row]) -> str:
    """Rows as aligned columns."""
    cells = [("what", "target", "measured", "")] + [(row.what, row.target, row.measured, verdict(row.met)) for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(4)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells)


def verdict(met: bool | None) -> str:
    return "" if met is None else "reached" if met else "missed"


def main() -> None:
    """Carry out one arm: MODULE FUNCTION PARAMETERS PLACE."""
    module, function, parameters, place = sys.argv[1:]
    result = getattr(importlib.import_module(module), function)(**json.loads(parameters))
    Path(place).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
