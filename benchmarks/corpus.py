"""The stages of documents at volume: MB/s per core of each, the most memory that all processes together hold, and time to find everything done again.

Volume is made by sampling real documents (English classics, Chinese poems and reviews, the standard library) and putting in place of some of their
sentences those of others, below a temporary folder. Rates are of processor time, all processes counted, so that they hold on a busy machine too;
memory is the sum of PSS (a page shared by n processes counts 1/n in each) over the tree of processes, sampled five times a second.
"""

from __future__ import annotations

import csv
import json
import lzma
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, Row, arguments, environment, progress, publish
from ftheta.core.atomic import write_json
from ftheta.data.corpus.executors import Local, Work
from ftheta.data.read.account import Account
from ftheta.data.sources.text import TextFiles
from ftheta.lifecycle.corpora import prepared
from ftheta.lifecycle.recipe import load

SENTENCE = re.compile(r"[^\n.。]*[\n.。]?")
SHARES = {"classics": 0.6, "chinese": 0.25, "code": 0.15}
PIECE = 6000
"""Characters of a document cut from a book."""
FILE = 48 << 20
"""Bytes of a file of the volume."""
CHANGED = 0.3
"""Share of a document's sentences that come from another."""
BUDGET = 1.0
"""GB that all processes together may hold."""


# volume


def real() -> dict[str, list[list[str]]]:
    """Real documents as lists of their sentences."""
    mirror = Path(os.environ["FTHETA_MIRROR"])
    books = []
    with tarfile.open(mirror / "english_classics" / "books_small.tar.xz") as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                text = file.read().decode("utf-8", "replace")
                books += [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    with lzma.open(mirror / "chinese_poetry" / "songci.tsv.xz", "rt", encoding="utf-8") as rows:
        chinese = [row[2] for row in csv.reader(rows, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) > 2]
    chinese += [line.partition("\t")[2] for line in (mirror / "chnsenticorp" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    source = TextFiles(path="python:stdlib", include=("**/*.py",))
    code = [document.text for file in source.files() for document in source.read(file, Account())]
    return {name: [SENTENCE.findall(text) for text in texts] for name, texts in zip(SHARES, (books, chinese, code), strict=True)}


def volume(folder: Path, size: int) -> None:
    """`size` bytes of documents, as lines of JSON in files of FILE bytes, a folder for each source."""
    found = real()
    for name, share in SHARES.items():
        draws, documents = random.Random(name), found[name]
        (folder / name).mkdir(parents=True)
        left, number = int(size * share), 0
        while left > 0:
            room = min(left, FILE)
            with (folder / name / f"{number:05}.jsonl").open("wb") as file:
                while room > 0:
                    room -= file.write(json.dumps({"text": edited(documents, draws)}, ensure_ascii=False).encode() + b"\n")
                left -= file.tell()
            number += 1


def edited(documents: Sequence[Sequence[str]], draws: random.Random) -> str:
    """A real document, some of its sentences from another."""
    one, other = draws.choice(documents), draws.choice(documents)
    return "".join(draws.choice(other) if draws.random() < CHANGED else sentence for sentence in one)


# one run


def recipe(folder: Path) -> dict[str, Any]:
    sources = {name: {"source": {"kind": "text_files", "path": str(folder / name), "on_bad": "quarantine"}} for name in SHARES}
    return {
        "format": 1, "name": "volume",
        "data": {
            "source": {"kind": "mixture", "sources": sources}, "clean": ["normalise", {"kind": "quality", "rules": "text"}], "deduplicate": ["exact", "near"],
            "split": {"validation": 0.005, "test": 0.005}, "tokenizer": {"kind": "byte_bpe", "vocab": 8192},
        },
        "model": {"preset": "decoder/small"}, "objective": "next_token", "train": {"steps": 1},
    }


class Timed(Local):
    """Notes the seconds and the processors' seconds of every kind of step."""

    def __init__(self, workers: int):
        super().__init__(workers)
        self.spent: dict[str, dict[str, float]] = {}

    def each(self, what: str, work: Sequence[Work], cache: Path) -> list[Path]:
        start, before = time.perf_counter(), self.processors()
        folders = super().each(what, work, cache)
        entry = self.spent.setdefault(f"{what}: {work[0][0].dump()['kind']}", {"seconds": 0.0, "cpu": 0.0, "steps": 0})
        entry["seconds"] += time.perf_counter() - start
        entry["cpu"] += self.processors() - before
        entry["steps"] += len(work)
        return folders

    def processors(self) -> float:
        times = os.times()                                                                # of those that have ended too
        return times.children_user + times.children_system + sum(cpu(pid) for pid in [os.getpid(), *(worker.process.pid for worker in self.started if worker.process is not None)])


def cpu(pid: int) -> float:
    """Seconds that a process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_once(folder: str, workers: int, result: str) -> None:
    """What `ftheta data run` does; seconds and bytes of every stage as JSON."""
    executor, start = Timed(workers), time.perf_counter()
    text = prepared(load(recipe(Path(folder))), executor)
    stages = {stage.name: {"documents": stage.account.get("documents"), "bytes": stage.account.get("bytes"), "shards": len(stage.folders)} for stage in text.corpus.stages}
    write_json(Path(result), {
        "spent": executor.spent, "seconds": time.perf_counter() - start, "own cpu": time.process_time(), "stages": stages, "tokens": text.account["tokens"],
        "fingerprint": text.account["fingerprint"],
    })


class Watch(threading.Thread):
    """The most memory a tree of processes holds, and how it grew."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid = pid
        self.peak: dict[str, float] = {"GB": 0.0}
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.2):
            held = {pid: pss(pid) for pid in tree(self.pid)}
            if sum(held.values()) > self.peak["GB"]:
                self.peak = {"GB": sum(held.values()), "parent": held.get(self.pid, 0.0), "workers": max([0.0, *(held[pid] for pid in held if pid != self.pid)])}


def tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                yield from tree(int(child))
        except OSError:
            continue


def pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e6 for line in lines if line.startswith("Pss:")), 0.0)


def watched(folder: Path, home: Path, workers: int) -> dict[str, Any]:
    """A run in a process of its own: what it took, and the most memory."""
    result = folder / "result.json"
    command = [sys.executable, "-c", f"from benchmarks.corpus import run_once; run_once({str(folder / 'volume')!r}, {workers}, {str(result)!r})"]
    with subprocess.Popen(command, cwd=ROOT, env={**environment(), "FTHETA_HOME": str(home)}) as process:
        watch = Watch(process.pid)
        watch.start()
        code = process.wait()
        watch.done.set()
        watch.join()
    if code:
        raise SystemExit(code)
    return {**json.loads(result.read_text()), "peak": watch.peak}


def main() -> None:
    parser = arguments(__doc__ or "", pairs=1)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.1, 1.0], help="GB of documents (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="where the volume is made; none: below the system's temporary folder")
    options = parser.parse_args()
    details: dict[str, Any] = {}
    for size in [0.01] if options.quick else options.sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            folder = Path(place)
            volume(folder / "volume", int(size * 1e9))
            progress(f"{size:g} GB are made")
            first = watched(folder, folder / "home", options.workers)
            again = watched(folder, folder / "home", options.workers)
            shutil.rmtree(folder / "home")
        if again["fingerprint"] != first["fingerprint"]:
            raise SystemExit("what was found again is not what was made")
        details[f"{size:g} GB"] = {**first, "again": again}
        progress(f"{size:g} GB: {first['seconds']:,.0f} s, {first['peak']} GB; again {again['seconds']:,.1f} s, {again['peak']['GB']:.2f} GB")
        progress("\n".join(f"  {name}: {entry['cpu']:.1f} s cpu, {entry['seconds']:.1f} s" for name, entry in first["spent"].items()))
    publish("corpus", f"The stages of documents, {options.workers} processes", rows(details), details, options.quick)


def rows(details: dict[str, Any]) -> list[Row]:
    found = []
    for size, run in details.items():
        peak, again = run["peak"]["GB"], run["again"]["seconds"]
        found.append(Row(f"{size}: most memory of all processes", f"≤ {BUDGET:g} GB", f"{peak:.2f} GB", peak <= BUDGET))
        found.append(Row(f"{size}: everything made; found again", "", f"{run['seconds']:,.0f} s; {again:,.1f} s"))
    *_, (_, largest) = details.items()
    found += [Row(f"{name}", "", f"{rate:,.1f} MB/s per core") for name, rate in rates(largest).items()]
    return found


def rates(run: dict[str, Any]) -> dict[str, float]:
    """MB of text that come into each stage, per second of one core."""
    into: dict[str, float] = {}
    last = ""
    for name, stage in run["stages"].items():
        into[name] = run["stages"][last or name]["bytes"] or into[last]
        last = name if stage["bytes"] else last
    left = run["stages"][last]["bytes"]
    return {name: into.get(name.partition(":")[0], left) / 1e6 / max(entry["cpu"], 1e-3) for name, entry in run["spent"].items()}


if __name__ == "__main__":
    main()
