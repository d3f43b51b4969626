"""Renders docs/benchmarks.md from benchmarks/results/*.json, so that the figures in the documentation are always the measured ones."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.common import RESULTS, ROOT, verdict

PAGE = ROOT / "docs" / "benchmarks.md"
ORDER = ("training", "finetuning", "time_to_loss", "checkpoints", "startup", "plan", "tokenizers")
INTRODUCTION = """# Benchmarks

Every table is written by the command above it: both sides in the same run, every arm in a fresh process with two threads, in the order
ABBA, equality of the results checked before any speed. A ratio is the median of pairwise quotients, with the smallest and the largest in
brackets. `make bench` measures everything again on your machine and rewrites this page.
"""


def render(results: list[dict[str, Any]]) -> str:
    """The page, benchmarks in their usual order, others after them by name."""
    by_name = {result["name"]: result for result in results}
    names = [*(name for name in ORDER if name in by_name), *sorted(by_name.keys() - set(ORDER))]
    missing = [name for name in ORDER if name not in by_name]
    parts = [INTRODUCTION, *(section(by_name[name]) for name in names)]
    if missing:
        parts.append("Not measured yet: " + ", ".join(f"`python -m benchmarks.{name}`" for name in missing) + ".\n")
    return "\n".join(parts)


def section(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    lines = [f"## {result['title']}", "", f"`{result['command']}`", "", "| what | target | measured | |", "| --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(cell(text) for text in (row["what"], row["target"], row["measured"], verdict(row["met"]))) + " |" for row in result["rows"]]
    device = machine.get("accelerator") or machine["processor"]
    where = f"{device}, {machine['cores']} cores, {machine['threads']} threads, {machine['memory_gb']} GB, load {machine['load']} at the end"
    lines += ["", f"Measured {result['date']} on {where}; " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".", ""]
    return "\n".join(lines)


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(results), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(results)} tables")


if __name__ == "__main__":
    main()
