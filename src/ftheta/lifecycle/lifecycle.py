"""`run`: the stages in order, each restartable: data → train (or fit) → model folder → evaluation and report.

A run folder holds `recipe.yaml` (resolved), metrics.jsonl, events.jsonl, `checkpoints/`, `model/` and `report/`. Running a finished
recipe again says so, an interrupted one continues, and a changed one is refused.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML

from ftheta.adaptation.lora import LoRA
from ftheta.adaptation.prompting import Prompting, choose
from ftheta.adaptation.virtual import VirtualTokens
from ftheta.architectures.architecture import Architecture, Estimator
from ftheta.core import distributed
from ftheta.core.atomic import Attempt, clear_attempts, commit, file_name, lock, verify, write_file
from ftheta.core.device import PeakMemory, pick
from ftheta.core.device import facts as machine_facts
from ftheta.core.errors import ConfigError, FolderError, FthetaError, Problem, Stopped, UsageError
from ftheta.core.log import logger
from ftheta.core.tensors import fingerprint
from ftheta.data.corpus.executors import Executor
from ftheta.data.corpus.ledger import named
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Source
from ftheta.data.sources.source_config import Prepared, source_name
from ftheta.data.stages import digest
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.lifecycle.build import build_data, build_ramp, build_source, build_validation, completed, original_model, refuse_misfits, task_of
from ftheta.lifecycle.card import number, render
from ftheta.lifecycle.companion import accompanied, load_companion
from ftheta.lifecycle.data_card import telling, write_data_card
from ftheta.lifecycle.executors import build_executor
from ftheta.lifecycle.few_bits import few_bits, first_loss
from ftheta.lifecycle.ledger import ceiling, flops_of_rows, flops_per_step, parameter_counts
from ftheta.lifecycle.pictures import curves
from ftheta.lifecycle.recipe import Recipe, differences, load, read_yaml
from ftheta.lifecycle.reference import content_of
from ftheta.models.adapters import Adapter, learned_beside, save_adapter
from ftheta.models.folder import load as load_model
from ftheta.models.folder import located, origin_of
from ftheta.models.folder import save as save_model
from ftheta.models.model import Model
from ftheta.training.checkpoints import Checkpoints
from ftheta.training.estimator import fit_estimator
from ftheta.training.events import Events, Exhibit, Listener, read_lines
from ftheta.training.stopping import StopRequest
from ftheta.training.trainer import Trainer


@dataclass
class Outcome:
    """What a run left behind."""

    folder: Path
    results: dict[str, Any]
    """report/results.json."""
    fresh: bool
    """False when the run was already finished."""

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"


def run(
    recipe: str | Path | Mapping[str, Any], *, changes: Sequence[str] | Mapping[str, Any] = (), out: str | Path | None = None, listeners: Sequence[Listener] = (),
    on: str = "local", workers: int | None = None,
) -> Outcome:
    """Do everything the recipe says, continuing what was begun; `on` and `workers` say who works on documents, as for `run_data`.

    Raises FthetaError's subclasses; Stopped when asked to stop.
    """
    parsed = load(recipe, changes)
    if parsed.arms:
        listed = ", ".join(arm.adapt.name + ("" if arm.rate is None else f" at rate {arm.rate:g}") for arm in parsed.arms)
        raise ConfigError([Problem(("arms",), f"{listed}: `ftheta compare RECIPE` makes a run of each; leave them out to make one run")])
    folder = Path(out) if out is not None else Path("runs") / parsed.name
    if (begun := begun_from(folder)) not in (None, parsed.start):
        parsed = load(recipe, changes, begun)
    refuse_misfits(parsed)
    distributed.start()
    executor = build_executor(on if distributed.rank() == 0 else "local", workers, telling(listeners) if distributed.rank() == 0 else None)
    stop = StopRequest()
    with stop.installed(), held(folder):
        return run_stages(parsed, folder, stop, list(listeners), executor)


def begun_from(folder: Path) -> str | None:
    """What the run in this folder, if there is one, started from."""
    return read_yaml(folder / "recipe.yaml").get("start") if (folder / "recipe.yaml").exists() else None


@contextlib.contextmanager
def held(folder: Path) -> Any:
    """The folder's lock, taken by the first process. Raises FolderError for a folder that cannot be written."""
    with plainly(folder), lock(folder) if distributed.rank() == 0 else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def plainly(folder: Path) -> Any:
    """What the disk refuses as a FolderError that says what to do."""
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise FolderError(f"{folder} cannot be written ({error.strerror}): choose another --out") from None
    except OSError as error:
        raise FolderError(f"{error.filename or folder}: {error.strerror}; what was saved before is untouched, run the same command again to continue") from error


def run_stages(recipe: Recipe, folder: Path, stop: StopRequest, listeners: list[Listener], executor: Executor) -> Outcome:
    threads = recipe.train.threads
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        if (done := finished(recipe, folder)) is not None:
            return Outcome(folder, done, fresh=False)
        if distributed.rank() == 0:
            clear_attempts(folder)
        events = Events(folder if distributed.rank() == 0 else None, listeners if distributed.rank() == 0 else [])
        with ending(events):
            return perform(recipe, folder, stop, events, executor)
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def ending(events: Events) -> Any:
    """Note how the block ends where it does not end well."""
    try:
        yield
    except Stopped:
        events.event("stopped")
        raise
    except Exception as error:
        events.event("failed", reason=str(error) or type(error).__name__)
        raise


def perform(recipe: Recipe, folder: Path, stop: StopRequest, events: Events, executor: Executor) -> Outcome:
    """The stages in order."""
    events.event("stage", name="data")
    data = build_data(recipe, executor)
    refuse_misfits(recipe, data.ports)
    recipe = completed(recipe, data.ports.sizes)
    claim(recipe, folder)
    if distributed.rank() == 0 and data.card is not None:
        write_data_card(folder, data.account, data.card(recipe.name))
    model, costs = train(recipe, data, folder, events, stop)
    if distributed.rank() == 0:
        events.event("stage", name="evaluate")
        results = report(recipe, data, model, folder, costs)
        events.event("done")
    distributed.barrier()
    if distributed.rank() != 0:
        results = json.loads((folder / "report" / "results.json").read_text())
    return Outcome(folder, results, fresh=True)


def finished(recipe: Recipe, folder: Path) -> dict[str, Any] | None:
    """The results of a run that is done, its recipe compared; None when there is work left. A run that failed before its first step leaves its folder to
    any recipe.
    """
    if begun(folder):
        refuse_changes(recipe, folder)
    elif distributed.rank() == 0:
        (folder / "recipe.yaml").unlink(missing_ok=True)
    if (folder / "report").is_dir() and not verify(folder / "report"):
        return json.loads((folder / "report" / "results.json").read_text())
    return None


def begun(folder: Path) -> bool:
    """Whether a run has come so far that there is something of it to lose."""
    left = [*folder.glob("model"), *folder.glob("checkpoints/*"), *(file for file in folder.glob("metrics.jsonl") if file.stat().st_size)]
    return bool(left) and (folder / "recipe.yaml").exists()


def refuse_changes(recipe: Recipe, folder: Path) -> None:
    """Raise UsageError showing where the folder's recipe differs from this one (what only the data decides is left out)."""
    old = read_yaml(folder / "recipe.yaml")
    new = recipe.dump()
    with contextlib.suppress(UsageError):
        new["model"] = recipe.architecture(recipe.replace(model=old["model"]).architecture({}).ports().sizes).dump()
    if changed := differences(old, new):
        raise UsageError(
            f"{folder} belongs to another recipe:\n  " + "\n  ".join(changed) + f"\nchoose another --out, or remove {folder} to start again"
        )


def claim(recipe: Recipe, folder: Path) -> None:
    """Write the resolved recipe into a new run folder."""
    if distributed.rank() == 0 and not (folder / "recipe.yaml").exists():
        sink = io.StringIO()
        yaml = YAML()
        yaml.default_flow_style = False
        yaml.dump(recipe.dump(), sink)
        write_file(folder / "recipe.yaml", sink.getvalue().encode())
    distributed.barrier()


def train(recipe: Recipe, data: Prepared, folder: Path, events: Events, stop: StopRequest) -> tuple[Model, dict[str, Any]]:
    """The trained model and what training it cost; from the model folder when it is already there."""
    config = recipe.architecture(data.ports.sizes)
    costs_file = folder / "model" / "training.json"
    if (folder / "model").is_dir() and not verify(folder / "model") and costs_file.exists():
        return load_model(folder / "model"), json.loads(costs_file.read_text())
    memory = PeakMemory(pick(recipe.train.device))
    provenance = {"recipe": recipe.dump(), "data": data.account.get("fingerprint"), "ftheta": version("ftheta"), **machine_facts()}
    if recipe.start is not None:
        provenance["start"] = origin_of(*located(recipe.start))
    if isinstance(recipe.adapt, Prompting) and recipe.start is not None:
        events.event("stage", name="prompting")
        architecture, costs = prompted(recipe.adapt, recipe.start, data, recipe.seed)
        costs["peak_memory"] = memory.bytes()
        return packed(recipe, data, architecture, task_of(recipe, config), provenance, None, costs, folder), costs
    architecture = original_model(recipe, data.ports.sizes)
    companion = load_companion(recipe, data.processor)
    objective = accompanied(recipe.objective, companion.architecture if companion else None)
    kept: dict[str, Any] = {}
    if recipe.start is not None:
        before = first_loss(recipe, objective, data, architecture) if recipe.adapt.lossy else None
        recipe.adapt.apply(architecture, recipe.seed)
        kept = few_bits(recipe, objective, data, architecture, before)
    events.event("stage", name="train")
    adapter: Adapter | None = None
    if isinstance(architecture, Estimator):
        costs = fit_estimator(architecture, data.splits["train"], recipe.seed)
    else:
        source = build_source(recipe, data)
        facts = {"recipe": digest(recipe.dump()), **({"companion": content_of(companion.architecture)} if companion else {})}
        counted = parameter_counts(architecture)
        flops = flops_per_step(architecture, objective, source) if not source.live else None
        checkpoints = Checkpoints(folder / "checkpoints", recipe.train.checkpoint.keep, recipe.train.checkpoint.pin_every)
        trainer = Trainer(
            architecture, objective, source, recipe.train, seed=recipe.seed, validation=build_validation(recipe, data), checkpoints=checkpoints,
            events=events, stop=stop, facts=facts, ramp=build_ramp(recipe), flops_per_step=flops, show=lambda: shown(recipe, data, architecture),
        )
        progress = trainer.fit()
        if isinstance(recipe.adapt, LoRA | VirtualTokens) and recipe.start is not None:
            origin = provenance["start"]["from"]
            if distributed.rank() == 0:
                keep_adapter(architecture, recipe.adapt, folder / "adapter", origin)
            if isinstance(recipe.adapt, VirtualTokens):                                   # no parameters of the model say the same
                adapter = learned_beside(architecture, recipe.adapt, origin)
        recipe.adapt.finish(architecture, lambda: original_model(recipe, data.ports.sizes))
        costs = {**counted, **kept, "flops_per_step": flops, **vars(progress), **speed(source, progress.units, progress.seconds)}
        if flops:
            top = ceiling(progress.precision, trainer.device)
            rate = flops * progress.step / max(progress.seconds, 1e-9)
            costs |= {"flops": flops * progress.step, "flops_per_second": rate, "ceiling_flops_per_second": top, "ceiling_share": rate / top}
    costs["peak_memory"] = memory.bytes()
    return packed(recipe, data, architecture, task_of(recipe, config), provenance, adapter, costs, folder), costs


def packed(
    recipe: Recipe, data: Prepared, architecture: Architecture, task: str, provenance: dict[str, Any], adapter: Adapter | None, costs: dict[str, Any], folder: Path,
) -> Model:
    """The model with everything needed to use it, and its folder."""
    model = Model(architecture, data.processor, task, provenance)
    model.architecture.compute_dtype = torch.float32
    if adapter is not None:
        model.adapters.add(recipe.adapt.name, adapter, recipe.name)
        model.use(recipe.adapt.name)
    if distributed.rank() == 0:
        save_model(model, folder / "model", extra={"training.json": costs}, replace=True)
    distributed.barrier()
    return model


def prompted(adapt: Prompting, start: str, data: Prepared, seed: int) -> tuple[Architecture, dict[str, Any]]:
    """The start asked in the best of the ways tried, and what trying took."""
    assert isinstance(data.processor, TextProcessor)
    began = time.perf_counter()
    found = choose(adapt, load_model(start).architecture, data.processor, data.splits, seed)
    seconds = time.perf_counter() - began
    adapt.apply(found.model, seed)
    rows = data.splits["train"].batch(torch.arange(min(8, len(data.splits["train"]))))
    facts = {"unit": "example", "units": found.looked, "units_per_second": found.looked / max(seconds, 1e-9), "seconds": seconds, "precision": "float32"}
    flops = flops_of_rows(found.model, rows) * found.looked
    return found.model, {**parameter_counts(found.model), **facts, "step": 0, "flops": flops, "prompting": found.facts}


def keep_adapter(model: Architecture, adapt: LoRA | VirtualTokens, place: Path, start: str) -> None:
    """What was learned by itself, for tools that read PEFT's files; the model folder holds a low-rank change merged."""
    try:
        save_adapter(model, adapt, place, start, fingerprint(load_model(start).architecture.theta()))
    except UsageError as error:
        logger.info("no adapter folder: %s", error)


def speed(source: Source, units: int, seconds: float) -> dict[str, Any]:
    unit = "token" if source.units_per_example > 1 else "example"
    return {"unit": unit, "units_per_second": units / max(seconds, 1e-9)}


def evaluate_all(recipe: Recipe, data: Prepared, model: Model) -> Result:
    """Every metric of the recipe, in order."""
    return measure_all(recipe.evaluate, subject_of(recipe, data, model))


def subject_of(recipe: Recipe, data: Prepared, model: Model) -> Subject:
    return Subject(model, data.splits, data.texts, recipe.seed, recipe.data.source, data.prompts)


def shown(recipe: Recipe, data: Prepared, architecture: Architecture) -> Exhibit:
    """What the metrics of the recipe have to show of a model that still learns. What cannot be shown stops no run."""
    found = Result()
    subject = subject_of(recipe, data, Model(architecture, data.processor, task_of(recipe, architecture.config)))
    for metric in recipe.evaluate:
        try:
            found.add(metric.exhibit(subject))
        except FthetaError as error:
            logger.warning("'%s' has nothing to show: %s", metric.name, error)
    return found.texts, found.pictures


def measure_all(metrics: Sequence[Metric], subject: Subject) -> Result:
    """What these metrics find, in order."""
    together = Result()
    for metric in metrics:
        logger.info("evaluating: %s ...", metric.name)
        together.add(metric.measure(subject))
    return together


def report(recipe: Recipe, data: Prepared, model: Model, folder: Path, costs: dict[str, Any]) -> dict[str, Any]:
    """Evaluate, and commit `report/`: results.json, per-unit values, pictures and the card."""
    found = evaluate_all(recipe, data, model)
    lines = read_lines(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else []
    curve = curves(lines, recipe.name) if any("loss" in key for line in lines for key in line) else None
    results = {
        "name": recipe.name, "finished": time.strftime("%Y-%m-%d %H:%M:%S"), "seed": recipe.seed, "task": model.task.name,
        "start": model.provenance.get("start"),
        "measurements": [measurement.facts() for measurement in found.measurements], "training": costs, "data": data.account, "machine": machine_facts(),
    }
    card = render(card_facts(recipe, results, list(found.pictures), found.texts, curve is not None, folder))
    with commit(folder / "report", replace=True) as attempt:
        attempt.write_json("results.json", results)
        attempt.write_text("card.md", card)
        for name, picture in {**({"curves.png": curve} if curve else {}), **found.pictures}.items():
            attempt.write(name, picture)
        write_values(attempt, found)
    return results


def write_values(attempt: Attempt, found: Result) -> None:
    """The units' values of every measurement, in `values/`."""
    for measurement in found.measurements:
        attempt.write(f"values/{file_name(measurement.name)}.npz", values_file(measurement))


def values_file(measurement: Measurement) -> bytes:
    """The units' values of one measurement, as .npz."""
    sink = io.BytesIO()
    arrays: dict[str, Any] = dict(measurement.per_unit)
    np.savez(sink, **arrays)
    return sink.getvalue()


def card_facts(recipe: Recipe, results: dict[str, Any], pictures: list[str], texts: dict[str, str], curve: bool, folder: Path) -> dict[str, Any]:
    costs, machine, data = results["training"], results["machine"], results["data"]
    rows: list[tuple[str, str, str]] = [("machine", f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}", "measured here")]
    names = {
        "parameters": ("parameters", "counted"), "step": ("steps", "counted"), "units": (f"{costs.get('unit', 'example')}s seen", "counted"),
        "seconds": ("seconds of training", "clock, validation and saving left out"), "units_per_second": (f"{costs.get('unit', 'example')}s per second", "their quotient"),
        "flops": ("FLOPs", "products counted on real rows, 2 per multiply-add, all steps"), "flops_per_second": ("FLOP/s", "their quotient with seconds"),
        "ceiling_flops_per_second": ("matmul ceiling, FLOP/s", f"large products in {costs.get('precision', '')}, measured at the end of the run"),
        "precision": ("precision", "chosen by train.precision"),
    }
    for key, (label, origin) in names.items():
        if costs.get(key) is not None:
            rows.append((label, costs[key] if isinstance(costs[key], str) else number(costs[key]), origin))
    if costs.get("ceiling_share"):
        rows.append(("share of the ceiling", f"{costs['ceiling_share']:.1%}", "quotient of the two above"))
    if costs.get("seconds"):
        rows.append(("share of time waiting for data", f"{costs.get('waited', 0) / costs['seconds']:.2%}", "clock around every fetch"))
    splits = {name: ", ".join(f"{number(v)} {k}" for k, v in split.items()) for name, split in data.get("splits", {}).items()}
    for name, counts in data.get("tokens", {}).items():
        splits[name] += f", {counts['tokens']:,} tokens"
    return {
        "name": recipe.name, "start": begun_with(results["start"]), "architecture": recipe.model["kind"], "objective": recipe.objective.name,
        "source": source_name(recipe.data.source),
        "task": results["task"], "version": version("ftheta"), "date": results["finished"], "measurements": results["measurements"],
        "curve": "curves.png" if curve else None, "pictures": pictures, "costs": rows, "splits": splits, "dropped": data.get("dropped"),
        "sources": "; ".join(map(named, data.get("ledger", []))),
        "fingerprint": data.get("fingerprint", "-"), "texts": texts, "model_path": f"{folder}/model", "notes": notes(costs),
    }


def begun_with(start: dict[str, Any] | None) -> str | None:
    """The model that training went on from, in words: its name, commit and what its weights hash to."""
    if start is None:
        return None
    commit = f" at commit `{start['commit']}`" if "commit" in start else ""
    return f"`{start['from']}`{commit} (" + ", ".join(f"{file} {value}" for file, value in start["weights"].items()) + ")"


def notes(costs: dict[str, Any]) -> list[str]:
    """What a reader should know before trusting the numbers."""
    found = ["Exactness: a resumed run equals an uninterrupted one bit by bit on the same machine with the same number of threads."]
    if costs.get("nonfinite"):
        found.append(f"{costs['nonfinite']} steps met numbers that were not finite; see events.jsonl.")
    if costs.get("stopped_early"):
        found.append("Training stopped early; the parameters are those of the best validation loss.")
    return found


