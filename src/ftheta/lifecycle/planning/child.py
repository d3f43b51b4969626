"""What a plan finds out in processes of their own: they start as a run does, and one that needs too much memory dies alone.

`ask` starts `python -m ftheta.lifecycle.planning.child TASK PLACE` with a question as JSON on its standard input and reads the answer
from PLACE.
"""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftheta.architectures.architecture import Estimator
from ftheta.core import errors
from ftheta.core.device import denormals_as_zero, pick
from ftheta.core.random import generator
from ftheta.data.stream import Stream
from ftheta.experience.iterations import Iterations
from ftheta.lifecycle import lifecycle
from ftheta.lifecycle.build import build_data, build_ramp, build_source, build_validation, starting_model
from ftheta.lifecycle.companion import build_objective
from ftheta.lifecycle.ledger import flops_per_step
from ftheta.lifecycle.planning.machine import peak_bytes, resident_bytes, step_seconds
from ftheta.lifecycle.planning.rehearse import Rehearsed, Stretch, drawn_out, rehearse, step_by_step, stretches
from ftheta.lifecycle.planning.stand_in import StandIn, example_rows, units_in_row
from ftheta.lifecycle.recipe import Recipe
from ftheta.training.precision import TYPES
from ftheta.training.trainer import Trainer

KILLED = (-9, 137)
WARM = 2
"""First steps, slower than the rest, that are not counted."""
FEWEST = 3
"""Steps counted however slow they are."""
LONG = 128
"""Tokens of a row up to which a model that walks along it is rehearsed as it is."""
SMALL_FIT = 200
"""Examples an estimator is tried on first."""
RUN = lifecycle.run
"""Everything a run has loaded is loaded here too: its modules are part of the memory of a process."""


def ask(task: str, question: dict[str, Any]) -> dict[str, Any]:
    """The answer of a fresh process. Raises the FthetaError it met, and MemoryError when the system killed it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "ftheta.lifecycle.planning.child", task, str(place)]
        done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True)
        answer = json.loads(place.read_text()) if place.exists() else {}
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    if done.returncode in KILLED:
        raise MemoryError(f"the process that tried it ({task}) was killed by the system")
    if done.returncode:
        raise errors.FthetaError(f"plan: the process that tried it ({task}) failed:\n" + "\n".join(done.stderr.splitlines()[-8:]))
    return answer


def main() -> None:
    task, place = sys.argv[1:]
    question = json.load(sys.stdin)
    recipe = Recipe.parse(question.pop("recipe"))
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    try:
        answer = {"rehearse": rehearsed, "steps": steps, "fit": fit, "weigh": weigh}[task](recipe, **question)
    except errors.ConfigError as error:
        answer = {"error": "UsageError", "message": str(error)}
    except errors.FthetaError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    Path(place).write_text(json.dumps(answer))


# without computing


def rehearsed(recipe: Recipe, read: bool, rows: int, micro: int, looking: int, precisions: list[str], timing: float = 4.0) -> dict[str, Any]:
    """Memory of a bare process, of the data and of training; FLOPs; seconds of a step, operations timed for `timing` seconds in all."""
    before = resident_bytes()
    data = build_data(recipe) if read else None
    held = resident_bytes() - before
    ports = data.ports if data else recipe.data.ports()
    config = recipe.architecture(ports.sizes, stand_in=True)
    example = example_rows(recipe, data, rows)
    device, units = pick(recipe.train.device), units_in_row(recipe)
    warm_up(device, precisions)
    process = resident_bytes() - held

    def play(micro: int, rows: int, at: float, looking: int, full: bool, length: int) -> Rehearsed:
        divided = recipe.replace(train={**recipe.train.dump(), "micro_batch": micro})
        part = {name: values[:, : length + values.shape[1] - units] if length < units else values for name, values in example.items()}
        seen = StandIn(part, ports, looking, units) if looking else None
        return rehearse(divided, config, StandIn(part, ports, min(rows, 2 * micro), units), precisions, at=at, looking=seen, full=full)

    slow = units > LONG and len(stretches(recipe)) == 1 and step_by_step(config, device)

    def played(micro: int, rows: int, at: float = 1.0, looking: int = 0, full: bool = False) -> Rehearsed:
        if not slow:
            return play(micro, rows, at, looking, full, units)
        short, longer = (play(micro, rows, at, looking, full, length) for length in (LONG // 4, LONG // 2))
        return drawn_out(short, longer, (LONG // 4, LONG // 2), units)

    spans = stretches(recipe)
    whole = played(micro, rows, looking=looking, full=True)
    other = max(2, micro // 2) if micro != 2 else 1
    found = dataclasses.asdict(dataclasses.replace(whole, operations=[]))
    found |= {"process": process, "data": held, "threads": torch.get_num_threads(), "row": StandIn(example, ports, 1, units).row_bytes()}
    found |= {"other": [other, played(other, other).trained], "stretches": []}
    passes = rows / min(rows, 2 * micro)
    for share, at in spans:
        part = whole if at == spans[-1][1] else played(micro, rows, at)
        passing = step_seconds([o for o in part.operations if o.part != "optimizer"], device, 0.75 * timing / len(spans))
        moving = step_seconds([o for o in part.operations if o.part == "optimizer"], device, 0.25 * timing / len(spans))
        found["stretches"].append({
            "share": share, "flops": part.flops * passes, "optimizer_flops": part.optimizer_flops, "seconds": passing * passes + moving,
        })
    return found


def weigh(recipe: Recipe) -> dict[str, Any]:
    """Memory of a bare process and of the data."""
    before = resident_bytes()
    data = build_data(recipe)
    held = resident_bytes() - before
    rows = StandIn(data.splits["train"].batch(torch.arange(1)), data.ports, 1, 1).row_bytes()
    return {"process": before, "data": held, "bytes": rows * len(data.splits["train"]), "threads": torch.get_num_threads()}


def warm_up(device: torch.device, precisions: list[str]) -> None:
    """What the first use of the libraries loads into a process."""
    for name in precisions:
        weight = nn.Parameter(torch.randn(64, 3, 3, 3, device=device))
        torch.optim.AdamW([weight], fused=True)
        image = nn.functional.conv2d(torch.randn(1, 3, 8, 8, device=device).to(TYPES[name]), weight.to(TYPES[name]))
        (image.flatten(1) @ torch.randn(64 * 36, 32, device=device).to(TYPES[name])).sum().backward()


# by doing


@denormals_as_zero()
def steps(recipe: Recipe, count: int, seconds: float) -> dict[str, Any]:
    """Real training steps, at least a few and at most `count` or what fits into `seconds`: their time and the memory of the process."""
    data = build_data(recipe)
    model = starting_model(recipe, data.ports.sizes)
    source, ramp = build_source(recipe, data), build_ramp(recipe)
    objective = build_objective(recipe, data.processor)
    work = None if source.live else flops_per_step(model, objective, source)
    validation = build_validation(recipe, data)
    trainer = Trainer(model, objective, source, recipe.train, seed=recipe.seed, validation=validation, ramp=ramp, flops_per_step=work)
    start = time.perf_counter()
    trainer.prepare()
    prepared = time.perf_counter() - start
    stream = Stream(source, trainer.slots, recipe.train.workers)
    spans = stretches(recipe)
    try:
        if isinstance(source, Iterations):
            taken = [whole_iterations(trainer, stream, source.steps_per_iteration, seconds)]
        else:
            taken = []
            for _, at in spans:
                trainer.ramp = Stretch(ramp, at) if ramp else None
                taken.append(timed(trainer, stream, WARM + math.ceil(count / len(spans)), seconds / len(spans))[WARM:])
        looked = look(trainer) if validation is not None else 0.0
    finally:
        stream.close()
    return {
        "steps": [len(part) for part in taken], "seconds": [sum(part) / len(part) for part in taken], "slowest": [max(part) for part in taken],
        "validation_batch": looked, "prepared": prepared, "precision": trainer.progress.precision, "peak": peak_bytes(), "micro": trainer.micro,
    }


def timed(trainer: Trainer, stream: Stream, most: int, seconds: float) -> list[float]:
    """Seconds of each step."""
    taken: list[float] = []
    while len(taken) < most and (sum(taken) < seconds or len(taken) < WARM + FEWEST):
        before = trainer.progress.seconds
        trainer.step(stream)
        taken.append(trainer.progress.seconds - before)
    return taken


def whole_iterations(trainer: Trainer, stream: Stream, length: int, seconds: float) -> list[float]:
    """Steps of the second iteration of acting and learning, or of the first where that takes long."""
    first = timed(trainer, stream, length, seconds)
    if len(first) == length and sum(first) < seconds / 2:
        return timed(trainer, stream, length, seconds)
    acted, learned = first[0], first[1:]
    return [acted, *(learned * length)[: length - 1]]


def look(trainer: Trainer) -> float:
    """Seconds for one batch of validation."""
    start = time.perf_counter()
    trainer.validate()
    assert trainer.validation is not None and trainer.config.validation is not None
    return (time.perf_counter() - start) / min(trainer.config.validation.batches, trainer.validation.steps_per_epoch or 1)


def fit(recipe: Recipe, seconds: float) -> dict[str, Any]:
    """An estimator's fit, of all examples where that takes no longer than `seconds`, else of a part and put in proportion."""
    before = resident_bytes()
    data = build_data(recipe)
    held = resident_bytes() - before
    dataset = data.splits["train"]
    total = len(dataset)
    order = torch.randperm(total, generator=generator(recipe.seed, "plan"))

    def once(rows: int) -> tuple[float, Estimator]:
        model = starting_model(recipe, data.ports.sizes)
        assert isinstance(model, Estimator)
        batch = dataset.batch(order[:rows])
        start = time.perf_counter()
        model.fit(batch, recipe.seed)
        return time.perf_counter() - start, model

    rows = min(total, max(SMALL_FIT, total // 8))
    taken, model = once(rows)
    growth = 1.0
    while rows < total:
        if taken * (min(total, 2 * rows) / rows) ** 2 > seconds:
            break
        more = min(total, 2 * rows)
        before, (taken, model) = taken, once(more)
        growth = min(3.0, max(0.5, math.log(taken / before) / math.log(more / rows)))
        rows = more
    theta = model.theta().values()
    return {
        "process": before, "data": held, "rows": rows, "examples": total, "seconds": taken * (total / rows) ** growth, "growth": growth, "peak": peak_bytes(),
        "parameters": sum(value.numel() for value in theta), "bytes": sum(value.numel() * value.element_size() for value in theta),
    }


if __name__ == "__main__":
    main()
