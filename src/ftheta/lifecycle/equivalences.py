"""What should make no difference, tried on a bench. Each check yields its findings; `certify` judges them.

Gradients are compared by norm, |a - b| / |b|, over everything one phase moves; what must be equal bit by bit has tolerance 0. In float64
1e-12 is allowed, in float32 1e-6, or four times as much as float32 differs from float64 anyway where a model amplifies rounding more
than that (never more than 1e-5).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ftheta.architectures.architecture import Estimator, call
from ftheta.core import distributed
from ftheta.core import tensors as tensor_files
from ftheta.core.contract import PADDING, Batch
from ftheta.core.errors import FthetaError, Stopped
from ftheta.data.processors.text import TextProcessor
from ftheta.lifecycle.bench import FAR, STEPS, Bench
from ftheta.lifecycle.recipe import Recipe
from ftheta.models.folder import load, save
from ftheta.objectives.objective import Coupled
from ftheta.training.stopping import StopRequest
from ftheta.training.trainer import Trainer

PRECISIONS = (torch.float64, torch.float32)
EXACT, ROUNDED, MOST_ROUNDED = 1e-12, 1e-6, 1e-5
ROUNDINGS = 4
MICRO_BATCHES = (3, 1)
SECONDS = 300.0
"""The longest two processes may take."""
PROGRAM = "import sys; from ftheta.lifecycle.equivalences import gradients_of_a_process; gradients_of_a_process(sys.argv[1])"
LEARNS_OTHERWISE = "this model finds its parameters by its own algorithm, not by gradients"


class Finding(NamedTuple):
    """What one check saw: the largest relative difference beside the tolerance, or why it does not apply."""

    what: str
    difference: float | None
    tolerance: float
    reason: str = ""


Named = Mapping[str, Tensor]
Check = Callable[[Bench], Iterator[Finding]]
Pair = Callable[[torch.dtype], tuple[list[Named], Named]]
"""What was found in one or several other ways, and what is wanted, in one precision."""


def difference(found: Named, wanted: Named) -> float:
    """|a - b| / |b| over all tensors of each group (the part of the name before the first `:`), the largest of the groups; inf if names differ."""
    if found.keys() != wanted.keys():
        return float("inf")
    groups: dict[str, list[str]] = {}
    for name in wanted:
        groups.setdefault(name.partition(":")[0], []).append(name)
    worst = 0.0
    for names in groups.values():
        if any(found[name].shape != wanted[name].shape for name in names):
            return float("inf")
        apart = sum(float((found[name].double() - wanted[name].double()).square().sum()) for name in names)
        size = sum(float(wanted[name].double().square().sum()) for name in names)
        share = (apart / size) ** 0.5 if size else (float("inf") if apart else 0.0)
        worst = share if share != share else max(worst, share)                            # not a number is the worst
    return worst


def identical(found: Named, wanted: Named) -> float:
    """0 when all tensors are equal bit by bit, their types included; otherwise the relative difference, and never 0."""
    same = found.keys() == wanted.keys() and all(found[name].dtype == wanted[name].dtype and torch.equal(found[name], wanted[name]) for name in wanted)
    return 0.0 if same else max(difference(found, wanted), sys.float_info.min)


def compared(what: str, pair: Pair) -> Iterator[Finding]:
    """The same comparison in float64 and float32."""
    reference: Named = {}
    for dtype in PRECISIONS:
        found, wanted = pair(dtype)
        reference = reference or wanted
        rounding = difference(wanted, reference)
        tolerance = EXACT if dtype == torch.float64 else max(ROUNDED, min(MOST_ROUNDED, ROUNDINGS * rounding))
        yield Finding(f"{name(dtype)} {what}", max(difference(other, wanted) for other in found), tolerance)


def gradients(trainer: Trainer, batch: Batch) -> dict[str, Tensor]:
    """What every phase's step would be made of: the mean gradient of each parameter it moves, and what was counted."""
    found: dict[str, Tensor] = {}
    trainer.model.train()
    for phase in trainer.phases:
        trainer.sums.pairs.clear()
        trainer.gradients(batch, phase)
        moving = [p for optimizer in trainer.optimizers[phase.name] for group in optimizer.param_groups for p in group["params"]]
        found |= {f"{phase.name} gradient:{trainer.names[p]}": p.grad.detach().clone() for p in moving if p.grad is not None}
        counted = [count for name, (_, count) in trainer.sums.pairs.items() if name.endswith("loss")]
        found[f"{phase.name} count"] = torch.tensor(counted[:1], dtype=torch.float64)
        trainer.model.zero_grad(set_to_none=True)
    return found


def batch_of(trainer: Trainer) -> Batch:
    """This process's rows of a step; of tokens, half of the first row is made padding, so that rows count differently."""
    batch = dict(trainer.source.batch(0, trainer.slots, trainer.model))
    if "documents" in batch and len(trainer.slots) and int(trainer.slots[0]) == 0:
        batch["documents"] = batch["documents"].clone()
        real = int((batch["documents"][0] != PADDING).sum())                              # how wide the batch is depends on its other rows
        batch["documents"][0, real // 2 :] = PADDING
    return batch


def accumulated(bench: Bench) -> Iterator[Finding]:
    """Gradients of micro-batches of 3 and 1 rows (the last incomplete) against the whole batch."""
    reason = LEARNS_OTHERWISE if not bench.gradients else ""
    if "batch_coupled" in bench.ports.traits:
        reason = "batch norm couples the rows of a batch; micro-batches are refused"
    elif bench.gradients and bench.trainer().source.batch_size == 1:
        reason = "a step has a single row (one graph)"
    if reason:
        yield Finding("gradients", None, 0, reason)
        return

    def pair(dtype: torch.dtype) -> tuple[list[Named], Named]:
        whole = bench.trainer(dtype)
        batch = batch_of(whole)
        return [gradients(bench.trainer(dtype, micro), batch) for micro in MICRO_BATCHES], gradients(whole, batch)

    yield from compared("gradients", pair)


def packed(bench: Bench) -> Iterator[Finding]:
    """Three documents in every row (with a source: those that are in it) against each document by itself: none sees another, positions and states start again."""
    if "documents?" not in bench.ports.takes:
        yield Finding("gradients", None, 0, "no documents are packed into rows")
        return
    if isinstance(bench.recipe.objective, Coupled) or any(spec.split()[1:3] != ["B", "T"] for spec in bench.recipe.objective.needs().reads.values()):
        yield Finding("gradients", None, 0, "a row is one document with one answer")
        return

    trainer = bench.trainer()
    if any(value.ndim == 1 for value in trainer.source.batch(0, trainer.slots, trainer.model).values()):
        yield Finding("gradients", None, 0, "the objective makes one example with one answer of every row")
        return

    def pair(dtype: torch.dtype) -> tuple[list[Named], Named]:
        trainer = bench.trainer(dtype)
        batch = dict(trainer.source.batch(0, trainer.slots, trainer.model))
        rows, length = batch["documents"].shape
        when = torch.arange(length)
        if "source" not in batch:                                                         # otherwise a document has its part of the source, and stays whole
            batch["documents"] = torch.stack([(when >= length // 3 + row).long() + (when >= 2 * length // 3 - row).long() for row in range(rows)])
        return [gradients(trainer, batch)], alone(bench.trainer(dtype), batch)

    yield from compared("gradients", pair)


def alone(trainer: Trainer, batch: Batch) -> dict[str, Tensor]:
    """As `gradients`, every document a batch of its own and the sums added here, without the trainer."""
    documents = batch["documents"]
    found: dict[str, Tensor] = {}
    for phase in trainer.phases:
        count = 0.0
        for row in range(len(documents)):
            for number in [number for number in documents[row].unique().tolist() if number != PADDING]:
                piece = {}
                for key, value in batch.items():
                    numbers = batch.get(f"{key}_documents", documents)
                    if not key.endswith("documents") and value.shape[:2] == numbers.shape:
                        piece[key] = value[row : row + 1, numbers[row] == number]
                loss = trainer.objective.loss(trainer.model, trainer.run, piece, phase)
                if float(loss.count or 0):
                    loss.total.backward()
                    count += float(loss.count or 0)
        moving = {trainer.names[p]: p.grad / count for p in trainer.model.parameters() if p.grad is not None}
        found |= {f"{phase.name} gradient:{key}": value for key, value in moving.items()}
        found[f"{phase.name} count"] = torch.tensor([count], dtype=torch.float64)
        trainer.model.zero_grad(set_to_none=True)
    return found


def resumed(bench: Bench) -> Iterator[Finding]:
    """A run that is stopped half-way, forgotten and continued from disk, against one that is not: parameters and losses, bit by bit."""
    if not bench.gradients:
        yield Finding("parameters and losses", None, 0, LEARNS_OTHERWISE)
        return
    results = []
    for stops in ((), (STEPS // 2,), (1, STEPS - 2)):
        losses: dict[str, Tensor] = {}
        with tempfile.TemporaryDirectory() as folder:
            for stop_at in (*stops, None):
                trainer = interrupted(bench, Path(folder), stop_at, losses)
        results.append({**{f"parameters:{key}": value.clone() for key, value in trainer.model.theta().items()}, **losses})
    yield Finding("parameters and losses", max(identical(result, results[0]) for result in results[1:]), 0.0)


def interrupted(bench: Bench, folder: Path, stop_at: int | None, losses: dict[str, Tensor]) -> Trainer:
    """Train until the end, or until asked to stop after a step; losses are noted."""
    stop = StopRequest()

    def note(event: str, facts: Mapping[str, object]) -> None:
        if event == "metrics":
            for key, value in facts.items():
                if key.endswith("loss") and isinstance(value, float):
                    losses[f"losses:{facts['step']} {key}"] = torch.tensor(value, dtype=torch.float64)
            stop.asked = facts["step"] == stop_at

    trainer = bench.run(folder, [note], stop)
    try:
        trainer.fit()
    except Stopped:
        if stop_at is None:
            raise
    return trainer


def shared(bench: Bench) -> Iterator[Finding]:
    """Two processes that share the rows of a step unevenly, against one: gradients and count."""
    if not bench.gradients:
        yield Finding("gradients", None, 0, LEARNS_OTHERWISE)
        return
    with tempfile.TemporaryDirectory() as name_:
        folder = Path(name_)
        (folder / "recipe.json").write_text(json.dumps(bench.recipe.dump()))
        two_processes(folder)

        def pair(dtype: torch.dtype) -> tuple[list[Named], Named]:
            trainer = bench.trainer(dtype)
            return [tensor_files.read(folder / f"{name(dtype)}.safetensors")], gradients(trainer, batch_of(trainer))

        yield from compared("gradients", pair)


def two_processes(folder: Path) -> None:
    """Run PROGRAM twice, as torchrun would. Raises FthetaError with what the one that failed said."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "FTHETA_THREADS": str(torch.get_num_threads())}
    started = []
    for rank in ("0", "1"):
        with (folder / f"said-{rank}").open("w") as said:
            environment = {**os.environ, **group, "RANK": rank, "LOCAL_RANK": rank}
            started.append(subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], env=environment, stdout=said, stderr=said))
    end = time.monotonic() + SECONDS
    try:
        while any(process.poll() is None for process in started) and not any(process.poll() for process in started):
            if time.monotonic() > end:
                raise FthetaError(f"two processes did not come to an end within {SECONDS:.0f} s")
            time.sleep(0.05)
        codes = [process.poll() for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    for rank, code in enumerate(codes):
        if code:
            lines = (folder / f"said-{rank}").read_text().strip().splitlines()
            raise FthetaError(f"process {rank} ended with {code}: {lines[-1] if lines else 'it said nothing'}")


def gradients_of_a_process(folder: str) -> None:
    """What each of the two processes does: its part of the gradients; the first writes them down."""
    place = Path(folder)
    torch.set_num_threads(int(os.environ["FTHETA_THREADS"]))
    distributed.start()
    bench = Bench.of(Recipe.parse(json.loads((place / "recipe.json").read_text())))
    for dtype in PRECISIONS:
        trainer = bench.trainer(dtype)
        found = gradients(trainer, batch_of(trainer))
        if distributed.rank() == 0:
            (place / f"{name(dtype)}.safetensors").write_bytes(b"".join(tensor_files.pieces(found)))
    distributed.barrier()
    distributed.stop()


def compiled(bench: Bench) -> Iterator[Finding]:
    """Gradients of compiled layers against the same layers as they are."""
    if not bench.gradients:
        yield Finding("gradients", None, 0, LEARNS_OTHERWISE)
        return
    if not bench.model().compiled_parts():
        yield Finding("gradients", None, 0, "this architecture names no parts worth compiling")
        return
    if reason := no_compiler():
        yield Finding("gradients", None, 0, reason)
        return

    def pair(dtype: torch.dtype) -> tuple[list[Named], Named]:
        plain, fast = bench.trainer(dtype), bench.trainer(dtype)
        batch = batch_of(plain)
        for part in fast.model.compiled_parts():
            part.compile()
        return [gradients(fast, batch)], gradients(plain, batch)

    level = logging.getLogger("torch").level
    logging.getLogger("torch").setLevel(logging.ERROR)                                    # advice on graph breaks, by the page
    try:
        yield from compared("gradients", pair)
    except RuntimeError as error:
        if "double backward" not in str(error):
            raise
        yield Finding("gradients", None, 0, "the objective differentiates twice, which compiled layers cannot; leave train.compile at auto or never")
    finally:
        logging.getLogger("torch").setLevel(level)
        torch.compiler.reset()


def no_compiler() -> str:
    """Why nothing can be compiled on this machine; empty when it can."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not torch.cuda.is_available() and not compiler:
        return "there is no C++ compiler on this machine"
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(3))
    except Exception as error:                                                            # whatever the tool chain cannot do
        return f"compiling does not work on this machine: {str(error).strip().splitlines()[0][:120]}"
    return ""


def saved(bench: Bench) -> Iterator[Finding]:
    """A model against itself after a round trip through a model folder: parameters, every output and token ids, bit by bit."""
    model = bench.packaged()
    with tempfile.TemporaryDirectory() as folder:
        again = load(save(model, Path(folder) / "model"))
    yield Finding("parameters", identical(again.architecture.theta(), model.architecture.theta()), 0.0)
    inputs, gives = bench.inputs(), bench.ports.gives
    with torch.no_grad():
        before, after = (call(one.architecture.eval(), inputs) for one in (model, again))
        yield Finding("outputs", identical({key: after[key] for key in gives}, {key: before[key] for key in gives}), 0.0)
    if isinstance(model.processor, TextProcessor) and isinstance(again.processor, TextProcessor):
        texts = [text for part in bench.data.texts.values() for text in part[:20]]
        ids = [{str(i): torch.tensor(one.encode(text)) for i, text in enumerate(texts)} for one in (again.processor, model.processor)]
        yield Finding("token ids", identical(*ids), 0.0)


def scored(bench: Bench) -> Iterator[Finding]:
    """Every metric that looks at several units together, at other batch sizes: the value and what each unit contributes to it."""
    metrics = [metric for metric in bench.recipe.evaluate if "batch" in type(metric).model_fields]
    if not metrics:
        yield Finding("scores", None, 0, "no metric of this recipe looks at batches of units")
        return
    model = bench.packaged(FAR)
    subject = bench.subject(model)
    for metric in metrics:
        values = []
        for size in (64, 1, 3, 7):
            found = metric.replace(batch=size).measure(subject).measurements
            units = {f"{one.name} {key}": torch.from_numpy(array) for one in found for key, array in one.per_unit.items()}
            values.append({**{one.name: torch.tensor(one.value, dtype=torch.float64) for one in found}, **units})
        yield Finding(f"{metric.name} of batches of 64, 1, 3, 7", max(difference(other, values[0]) for other in values[1:]), ROUNDED)


def padded(bench: Bench) -> Iterator[Finding]:
    """Rows of unequal length, padded on either side to one batch, against each row by itself: every output of a real token."""
    if bench.ports.takes.get("tokens") != "ids B T" or "documents?" not in bench.ports.takes:
        yield Finding("outputs", None, 0, "inputs have no padding")
        return

    @torch.no_grad()
    def pair(dtype: torch.dtype) -> tuple[list[Named], Named]:
        model, found, inputs = bench.model(dtype).eval(), [], bench.inputs(3)
        rows = [row[: max(2, len(row) - 9 * i)] for i, row in enumerate(inputs["tokens"])]
        sources = {key: value.clamp(max=0) if key == "source_documents" else value for key, value in inputs.items() if key.startswith("source")}
        for left in (True, False):
            tokens, documents, places = pad(rows, left)
            together = call(model, {**sources, "tokens": tokens, "documents": documents})
            parts = [{key: together[key][i : i + 1] for key in bench.ports.gives} for i in range(len(rows))]
            found.append(outputs_of(parts, places, bench))
        alone = [call(model, {**{key: value[i : i + 1] for key, value in sources.items()}, "tokens": row[None]}) for i, row in enumerate(rows)]
        return found, outputs_of(alone, [slice(0, len(row)) for row in rows], bench)

    yield from compared("outputs", pair)


def pad(rows: list[Tensor], left: bool) -> tuple[Tensor, Tensor, list[slice]]:
    """One batch (B, T) of rows of unequal length, the document of every token, and where the real ones stand."""
    longest = max(len(row) for row in rows)
    tokens, documents, places = torch.zeros(len(rows), longest, dtype=torch.long), torch.full((len(rows), longest), PADDING), []
    for i, row in enumerate(rows):
        start = longest - len(row) if left else 0
        places.append(slice(start, start + len(row)))
        tokens[i, places[i]], documents[i, places[i]] = row, 0
    return tokens, documents, places


def outputs_of(parts: Sequence[Mapping[str, Tensor]], places: list[slice], bench: Bench) -> dict[str, Tensor]:
    """The named outputs of each row, of those for every token at its real ones."""
    along = {key: spec.split()[1:3] == ["B", "T"] for key, spec in bench.ports.gives.items()}
    return {
        f"{key}:{i}": part[key][:, place] if along[key] else part[key]
        for i, (part, place) in enumerate(zip(parts, places, strict=True)) for key in bench.ports.gives
    }


def repeated(bench: Bench) -> Iterator[Finding]:
    """A model with an algorithm of its own, fitted twice with one seed."""
    if bench.gradients:
        yield Finding("parameters", None, 0, "it learns by gradients; see resume")
        return
    first, second = bench.model(), bench.model()
    assert isinstance(first, Estimator)
    yield Finding("parameters", identical(first.theta(), second.theta()), 0.0)


def name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


CHECKS: dict[str, Check] = {
    "accumulation = big batch": accumulated,
    "packed = unpacked": packed,
    "resumed = uninterrupted": resumed,
    "two processes = one": shared,
    "compiled = eager": compiled,
    "saved = loaded": saved,
    "batch size changes no score": scored,
    "padding changes nothing": padded,
    "fitted again = the same": repeated,
}
