"""Machines and hours for the stages of documents at 100 GB, 10 TB and 1 PB, from the rates that `python -m benchmarks.corpus` measured: the tables of docs/stages/scale.md.

Steps of a shard are done by any number of cores; those that gather (`compare`, `assign`) by one process. Time is taken to be in proportion to bytes,
memory to documents, which are taken to be as long as those measured.
"""

from __future__ import annotations

import json
import math
from typing import Any

from benchmarks.common import RESULTS, ROOT

PAGE = ROOT / "docs" / "stages" / "scale.md"
BEGIN, END = "<!-- python -m benchmarks.capacity -->", "<!-- end -->"
SIZES = {"100 GB": 1e11, "10 TB": 1e13, "1 PB": 1e15}
CORES = 64
"""Of a machine."""
DAY = 24.0
GATHERED = {"compare": 48, "assign": 64}
"""Steps done by one process, and the bytes for every document that they hold at once: numbers, clusters and decisions; keys, groups and parts."""


def render(result: dict[str, Any]) -> str:
    name, run = list(result["details"].items())[-1]
    read = run["stages"]["read"]
    documents, size = read["documents"], read["bytes"]
    steps = {step: entry["cpu"] / size for step, entry in run["spent"].items()}                                              # seconds for each byte that was read
    shared = {step: cost for step, cost in steps.items() if step.rpartition(" ")[2] not in GATHERED}
    single = {step: cost for step, cost in steps.items() if step.rpartition(" ")[2] in GATHERED}
    whole = sum(shared.values())
    lines = [f"Measured on {name} ({documents:,} documents of {size / documents:,.0f} bytes on average), {result['date']}.", ""]
    lines += ["| step of a shard | MB read per second and core | share of the work |", "|---|---|---|"]
    lines += [f"| {step} | {1e-6 / max(cost, 1e-12):,.1f} | {cost / whole:.0%} |" for step, cost in sorted(shared.items(), key=lambda item: -item[1])]
    lines += ["", f"| documents | core hours | hours on {CORES} cores | machines of {CORES} cores for a day | gathering, one process: hours | its memory |"]
    lines += ["|---|---|---|---|---|---|"]
    for title, total in SIZES.items():
        hours, count = total * whole / 3600, total / size * documents
        gathering, held = total * sum(single.values()) / 3600, max(GATHERED.values()) * count
        machines = math.ceil(hours / CORES / DAY)
        lines.append(f"| {title}, {count / 1e6:,.0f} million documents | {hours:,.0f} | {hours / CORES:,.1f} | {machines:,} | {gathering:,.1f} | {held / 1e9:,.0f} GB |")
    return "\n".join(lines)


def main() -> None:
    result = json.loads((RESULTS / "corpus.json").read_text(encoding="utf-8"))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{render(result)}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(render(result))


if __name__ == "__main__":
    main()
