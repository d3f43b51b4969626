"""What can be done with finished folders: evaluate again, verify, look at the installation."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ftheta.core import device
from ftheta.core.atomic import MANIFEST, commit, file_name
from ftheta.core.atomic import verify as verify_folder
from ftheta.core.config import Config, Slot, merge
from ftheta.core.contract import Ports
from ftheta.core.errors import DataError, FolderError, UsageError
from ftheta.data.stages import home
from ftheta.evaluation.harness import Harness, measure_harness
from ftheta.evaluation.metrics import METRICS
from ftheta.evaluation.metrics.metric import Result, Subject
from ftheta.lifecycle.build import build_data
from ftheta.lifecycle.lifecycle import evaluate_all, measure_all, write_values
from ftheta.lifecycle.recipe import Recipe, parse_change
from ftheta.models.folder import load
from ftheta.models.model import Model
from ftheta.models.tasks.task import Asked

AT_ONCE = 64
"""Inputs of a command line that a model is given together."""
EXTRAS = {
    "classical": ("scikit-learn",), "cluster": ("ray",), "constrained": ("llguidance",), "data": ("ftfy", "opencc-python-reimplemented", "py3langid"),
    "export": ("onnx", "onnxscript", "onnxruntime", "gguf"), "harness": ("lm-eval",), "hub": ("huggingface-hub",), "language": ("sacrebleu", "rouge-score"),
    "rl": ("gymnasium",), "serve": ("fastapi", "uvicorn"), "vision": ("pillow",),
}


def evaluate(
    model: str | Path, *, changes: Sequence[str] | Mapping[str, Any] = (), metrics: Sequence[Mapping[str, Any]] = (),
    harness: Mapping[str, Any] | None = None, seed: int = 0, out: str | Path | None = None, accept: str | None = None,
) -> Result:
    """Measure a model folder again on the data of its recipe, with changes to the recipe's `evaluate` or `data` sections; or, with `metrics` that bring
    their own data (benchmarks, probes), on that, wherever the model is from; or with tasks of
    lm-evaluation-harness. `out` is a new folder for results, pictures and values of units; `accept` as in `load`.

    Raises UsageError when the folder does not say which recipe made it, or a metric does not fit the model.
    """
    opened = load(model, accept=accept)
    found = Result() if metrics or harness else measure_again(opened, model, changes)
    if metrics:
        found.add(measure_by_themselves(opened, metrics, seed))
    if harness:
        found.add(measure_harness(opened, Harness.parse(dict(harness), "harness"), seed))
    if out is not None:
        with commit(Path(out)) as attempt:
            facts = {"model": str(model), "measurements": [measurement.facts() for measurement in found.measurements], "machine": device.facts()}
            attempt.write_json("results.json", facts)
            write_values(attempt, found)
            for name, picture in found.pictures.items():
                attempt.write(name, picture)
            for title, text in found.texts.items():
                attempt.write_text(f"{file_name(title)}.txt", text)
    return found


def measure_by_themselves(model: Model, metrics: Sequence[Mapping[str, Any]], seed: int) -> Result:
    """What metrics find that need no test split."""
    parsed: list[Any] = [Slot(METRICS).parse(fields) for fields in metrics]
    if reasons := [reason for metric in parsed for reason in metric.misfits(Ports(), model.architecture.config)]:
        raise UsageError("\n".join(reasons))
    return measure_all(parsed, Subject(model, {}, {}, seed))


def measure_again(opened: Model, model: str | Path, changes: Sequence[str] | Mapping[str, Any]) -> Result:
    """The metrics of the recipe that made the model, with changes."""
    data: Any = opened.provenance.get("recipe")
    if data is None:
        raise UsageError(f"{model} does not say which recipe made it, so there is no test split to measure on (benchmarks and probes bring their own data)")
    for change in [changes] if isinstance(changes, Mapping) else [parse_change(change) for change in changes]:
        data = merge(data, change)
    recipe = Recipe.parse(data)
    return evaluate_all(recipe, build_data(recipe), opened)


class Told(NamedTuple):
    """The answer to an input, or why there is none."""

    file: str
    """The file that was asked about, where it was one."""
    answer: Config | None
    reason: str = ""


def answers(model: Model, texts: Iterable[str], fetch: bool = False) -> Iterator[Told]:
    """What a model says of inputs as they are typed on a command line: texts, JSON, files, folders, and with `fetch` addresses.

    Those that cannot be read cost the others nothing. Raises UsageError for what is not an input of the model's task.
    """
    asked = [one for text in texts for one in each(model, text, fetch)]
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        readable = [one for one in some if isinstance(one, Asked)]
        try:
            found = iter([Told(one.file, answer) for one, answer in zip(readable, model.predict([one.fields for one in readable]), strict=True)] if readable else [])
        except DataError:
            found = (alone(model, one) for one in readable)
        yield from (next(found) if isinstance(one, Asked) else one for one in some)


def each(model: Model, text: str, fetch: bool) -> Sequence[Asked | Told]:
    """The inputs that a text stands for, or why it stands for none."""
    try:
        return model.task.asked(text, fetch)
    except DataError as error:
        return [Told(text, None, str(error))]


def alone(model: Model, one: Asked) -> Told:
    """The answer to one input, or why there is none."""
    try:
        return Told(one.file, model.predict(one.fields))
    except DataError as error:
        return Told(one.file, None, str(error))


class Verified(NamedTuple):
    """One committed folder and what is wrong with it."""

    folder: Path
    problems: list[str]


def verify(folder: str | Path) -> list[Verified]:
    """Check every byte of a model or run folder against its manifests. Raises FolderError when there is no manifest below it."""
    root = Path(folder)
    if not root.is_dir():
        raise FolderError(f"{root} is not a folder")
    committed = sorted(path.parent for path in [*root.glob(MANIFEST), *root.glob(f"*/{MANIFEST}"), *root.glob(f"checkpoints/*/{MANIFEST}")])
    expected = [path for path in [root / "model", root / "report", *sorted((root / "checkpoints").glob("step-*"))] if path.is_dir()]
    found = [Verified(path, verify_folder(path)) for path in dict.fromkeys([*committed, *expected]) if not path.name.startswith(".tmp-")]
    if not found:
        raise FolderError(f"{root} holds no {MANIFEST}: it is neither a model folder nor a run folder")
    return found


class Finding(NamedTuple):
    """One line of `doctor`: what was looked at, whether it is well, and what was seen or what to do."""

    subject: str
    well: bool
    detail: str


def doctor() -> list[Finding]:
    """Look over the installation: versions, extras, compiler, memory, folders, speed."""
    findings = [Finding("python", sys.version_info >= (3, 11), sys.version.split()[0])]
    findings += [Finding(name, True, version(name)) for name in ("ftheta", "torch", "numpy", "safetensors", "tokenizers", "pydantic")]
    for extra, packages in EXTRAS.items():
        for package in packages:
            try:
                findings.append(Finding(f"extra {extra}", True, f"{package} {version(package)}"))
            except PackageNotFoundError:
                findings.append(Finding(f"extra {extra}", True, f"{package} is not installed: pip install 'ftheta[{extra}]' if you want it"))
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    findings.append(Finding("C++ compiler", True, compiler or "none: torch.compile is not available on the CPU, everything else is"))
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = {name: device.matmul_rate(kind, place) / 1e9 for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16))}
    findings.append(Finding("device", True, torch.cuda.get_device_name() if place.type == "cuda" else f"{device.processor_name()}, {torch.get_num_threads()} threads"))
    findings.append(Finding("products", True, ", ".join(f"{name} {rate:,.0f} GFLOP/s" for name, rate in rates.items())))
    findings.append(Finding("memory", device.memory_bytes() > 2 << 30, f"{device.memory_bytes() / 2**30:.1f} GB"))
    findings.append(writable("cache", home()))
    findings.append(writable("runs", Path("runs") if Path("runs").exists() else Path(".")))
    mirror = os.environ.get("FTHETA_MIRROR")
    findings.append(Finding("data mirror", mirror is None or Path(mirror).is_dir(), mirror or "none (FTHETA_MIRROR is not set): data sets are fetched by name"))
    findings.append(Finding("display", importlib.util.find_spec("matplotlib") is not None, "pictures are drawn by matplotlib"))
    return findings


def writable(subject: str, folder: Path) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free / 2**30
        return Finding(subject, free > 1, f"{folder.resolve()}, {free:,.0f} GB free")
    except OSError as error:
        return Finding(subject, False, f"{folder} cannot be written: {error.strerror}")
