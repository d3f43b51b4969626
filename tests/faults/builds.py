"""Trainers made from recipes within this process, for faults that need no death."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftheta.architectures.architecture import Architecture
from ftheta.core.contract import Batch
from ftheta.data.source import Source
from ftheta.lifecycle.build import build_data, build_model, build_source, build_validation
from ftheta.lifecycle.recipe import load
from ftheta.training.checkpoints import Checkpoints
from ftheta.training.events import Events, Listener
from ftheta.training.stopping import StopRequest
from ftheta.training.trainer import Trainer


def trainer(
    recipe: dict[str, Any], folder: Path | None, *, listeners: list[Listener] | None = None, stop: StopRequest | None = None,
    change: Callable[[Source], None] | None = None,
) -> Trainer:
    """What `run` would train, saving into `folder`; `change` may alter the source before it is used."""
    parsed = load(recipe)
    data = build_data(parsed)
    model = build_model(parsed.architecture(data.ports.sizes), parsed.seed)
    source = build_source(parsed, data)
    if change is not None:
        change(source)
    keep = parsed.train.checkpoint
    checkpoints = None if folder is None else Checkpoints(folder / "checkpoints", keep.keep, keep.pin_every)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return Trainer(
        model, parsed.objective, source, parsed.train, seed=parsed.seed, validation=build_validation(parsed, data), checkpoints=checkpoints,
        events=Events(folder, listeners), stop=stop,
    )


def spoiled(source: Source, steps: set[int], spoil: Callable[[Batch], Batch]) -> None:
    """Make a source give spoiled batches at some steps."""
    real = source.batch

    def batch(step: int, slots: Any, model: Architecture | None) -> Batch:
        given = real(step, slots, model)
        return spoil({name: value.clone() for name, value in given.items()}) if step in steps else given

    source.batch = batch  # type: ignore[method-assign]


def stop_at(step: int, stop: StopRequest) -> Listener:
    """Asks to stop when a step has been logged."""

    def listener(name: str, facts: dict[str, Any]) -> None:
        stop.asked = stop.asked or (name == "metrics" and facts["step"] == step)

    return listener
