"""A model as one program of tensor operations with batch and length left open, by torch.export: `model.pt2`, opened with `torch.export.load` and no line of
this package; beside it the files that say how inputs are read.

What a program cannot be is a decision on the data: a part that looks at values and takes another path. Where a path only saves work (padding left out, a mask
not needed) the one that is always right is taken; a model that needs more is refused, with what torch says.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ftheta.architectures.architecture import Architecture
from ftheta.core.atomic import Attempt
from ftheta.core.contract import Batch
from ftheta.core.errors import FolderError, UsageError
from ftheta.data.processors import PROCESSORS
from ftheta.export.format import Consumer, Format, answers
from ftheta.export.probes import inputs_of, seen, tensors_for
from ftheta.interop.ours import FACTS, described
from ftheta.models.contract import contract
from ftheta.models.folder import generation_of, read_facts, read_generation
from ftheta.models.model import Model

OPEN = ("B", "T", "S", "N", "E")
"""Dimensions that may be of any size when the program is used."""
SIGNATURE = "signature"
"""The field of `ftheta.json` that says what goes in and comes out, in order."""


class Program(nn.Module):
    """An architecture with its inputs and outputs in order."""

    def __init__(self, architecture: Architecture, takes: Sequence[str], gives: Sequence[str]):
        super().__init__()
        self.architecture = architecture
        self.takes, self.gives = list(takes), list(gives)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = self.architecture(**dict(zip(self.takes, inputs, strict=True)))
        return tuple(found[name] for name in self.gives)


def exported(model: Model) -> torch.export.ExportedProgram:
    """The program. Raises UsageError with the reason where there is none."""
    ports = model.architecture.config.ports()
    specs, example = inputs_of(ports), tensors_for(ports, 0, 3, seen(model.processor))
    program = Program(model.architecture, list(specs), answers(model)).eval()
    shapes = tuple({i: torch.export.Dim.DYNAMIC for i, letter in enumerate(spec.split()[1:]) if letter in OPEN} for spec in specs.values())
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(program, tuple(example[name] for name in specs), dynamic_shapes=(shapes,), strict=False)
    except Exception as error:                                                            # torch raises many kinds, none of them public
        raise UsageError(f"this '{model.architecture.config.name}' is no program of tensors alone: {reason(error)}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what torch prints while it makes a program, whole graphs among it."""
    before = logging.root.manager.disable
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


def reason(error: BaseException) -> str:
    """What stands in the way, in words where torch's own name things inside it."""
    if "data-dependent" in str(error):
        return "a part of it decides by the values of its inputs what it computes next"
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def write_reading(attempt: Attempt, model: Model) -> None:
    """The files that say how inputs are read, and in which order they go in."""
    generation, ports = generation_of(model), model.architecture.config.ports()
    said = described(model.architecture.config, model.task.name, model.processor, model.provenance)
    signature = {"inputs": inputs_of(ports), "outputs": {name: ports.gives[name] for name in answers(model)}}
    said |= {"contract": contract(model.processor, generation), SIGNATURE: signature}
    attempt.write_json(FACTS, said)
    for name, data in model.processor.files().items():
        attempt.write(name, data)
    if generation is not None:
        attempt.write_json("generation_config.json", generation)


class ProgramFolder(Consumer):
    """A program and the files beside it."""

    def __init__(self, folder: Path):
        facts = read_facts(folder)
        self.processor = PROCESSORS.load(facts["processor"]["kind"]).load(facts["processor"], folder)
        self.generation = read_generation(folder)
        signature: Mapping[str, Any] | None = facts.get(SIGNATURE)
        if signature is None:
            raise FolderError(f"{folder / FACTS} does not say what the program takes and gives")
        self.takes, self.gives = list(signature["inputs"]), list(signature["outputs"])


class TorchProgram(ProgramFolder):
    """torch."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.run = torch.export.load(folder / "model.pt2").module()

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        return dict(zip(self.gives, self.run(*(batch[name] for name in self.takes)), strict=True))


class TorchExport(Format):
    """A program that torch runs without this package."""

    def write(self, model: Model, attempt: Attempt) -> None:
        program = exported(model)
        with quiet():
            torch.export.save(program, attempt.path / "model.pt2")
        attempt.adopt("model.pt2")
        write_reading(attempt, model)

    def open(self, folder: Path) -> Consumer:
        return TorchProgram(folder)
