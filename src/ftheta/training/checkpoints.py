"""Checkpoints: everything needed to continue exactly, committed atomically; found, verified and kept by rule.

A checkpoint holds parameters, optimizer state, the running average and the source's state as safetensors, the trainer's counters as
JSON, and a manifest that says for which recipe, data, machine and versions it is exact.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import clear_attempts, commit, read_manifest, verify
from ftheta.core.errors import FolderError
from ftheta.core.log import logger

LATE = ("optimizer", "average")
"""Groups that nothing changes while a step computes its gradients: a save behind copies them during that time."""


@dataclass
class State:
    """What one checkpoint holds: named groups of tensors, plain facts, and facts for the manifest."""

    step: int
    groups: dict[str, dict[str, Tensor]]
    counters: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The `checkpoints/` folder of a run."""

    def __init__(self, folder: Path, keep: int = 2, pin_every: int | None = None):
        self.folder = folder
        self.keep = keep
        self.pin_every = pin_every
        self.writing: threading.Thread | None = None
        self.failure: BaseException | None = None
        self.staging: dict[str, dict[str, Tensor]] = {}
        self.settled = threading.Event()
        self.settled.set()

    def steps(self) -> list[int]:
        """Steps of all committed checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(entry.name[5:]) for entry in self.folder.iterdir() if entry.name.startswith("step-") and entry.name[5:].isdigit())

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def save(self, state: State) -> Path:
        """Write, commit, verify, then apply retention. Raises OSError or FolderError; what was there before is untouched."""
        final = self.path(state.step)
        if final.exists():
            if not verify(final):
                return final
            shutil.rmtree(final)
        with commit(final, {"step": state.step, **state.facts}) as attempt:
            for name, group in state.groups.items():
                attempt.write(f"{name}.safetensors", *tensor_files.pieces(group))
            attempt.write_json("state.json", state.counters)
        if found := verify(final):
            raise FolderError(f"checkpoint {final.name} does not read back as written: {found[0]}")
        self.retain()
        return final

    def save_behind(self, state: State) -> None:
        """Copy the state aside and write it while training goes on; an error is raised by the next call or by `wait`.

        Call `settle` before anything changes the groups of LATE.
        """
        self.wait()
        now = self.stage({name: group for name, group in state.groups.items() if name not in LATE})
        late = {name: group for name, group in state.groups.items() if name in LATE}
        copy = State(state.step, now, json.loads(json.dumps(state.counters)), dict(state.facts))
        self.settled.clear()
        self.writing = threading.Thread(target=self._write, args=(copy, late), name="ftheta-checkpoint")
        self.writing.start()

    def settle(self) -> None:
        """Wait until everything a save behind must hold has been copied aside."""
        self.settled.wait()

    def stage(self, groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Copy into buffers that are kept from one checkpoint to the next."""
        for name, group in groups.items():
            buffers = self.staging.setdefault(name, {})
            for key in buffers.keys() - group.keys():
                del buffers[key]
            for key, value in group.items():
                if key not in buffers or buffers[key].shape != value.shape or buffers[key].dtype != value.dtype:
                    buffers[key] = torch.empty(value.shape, dtype=value.dtype)
                buffers[key].copy_(value.detach())
        return {name: dict(self.staging[name]) for name in groups}

    def _write(self, state: State, late: Mapping[str, Mapping[str, Tensor]]) -> None:
        try:
            try:
                state.groups |= self.stage(late)
            finally:
                self.settled.set()
            self.save(state)
        except BaseException as error:                                                    # raised again in the trainer's thread
            self.failure = error

    def wait(self) -> None:
        """Wait for the writer. Raises what it met."""
        if self.writing is not None:
            self.writing.join()
            self.writing = None
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def best(self) -> int | None:
        """The step with the lowest validation loss among the checkpoints that verify."""
        losses = {}
        for step in self.steps():
            try:
                loss = json.loads((self.path(step) / "state.json").read_text()).get("validation_loss")
            except (OSError, ValueError):
                continue
            if loss is not None:
                losses[step] = loss
        ranked = sorted(losses, key=lambda step: (losses[step], step))
        return next((step for step in ranked if not verify(self.path(step))), None)

    def pinned(self, step: int) -> bool:
        return (self.path(step) / "PIN").exists() or bool(self.pin_every and step % self.pin_every == 0)

    def retain(self) -> None:
        """Remove old checkpoints, never the newest that verifies, the best or a pinned one."""
        steps = self.steps()
        newest = next((step for step in reversed(steps) if not verify(self.path(step))), None)
        best = self.best()
        for step in steps[: -self.keep]:
            if step not in (newest, best) and not self.pinned(step):
                shutil.rmtree(self.path(step), ignore_errors=True)

    def load(self, step: int) -> State:
        """Read one checkpoint, which has been verified."""
        folder = self.path(step)
        manifest = read_manifest(folder)
        groups = {Path(name).stem: tensor_files.read(folder / name) for name in manifest["files"] if name.endswith(".safetensors")}
        counters = json.loads((folder / "state.json").read_text())
        return State(step, groups, counters, {key: value for key, value in manifest.items() if key not in ("files", "format", "step")})

    def newest(self) -> State | None:
        """The newest checkpoint that verifies, said loudly when newer ones do not; None when there is none at all.

        Raises FolderError when checkpoints exist but none verifies.
        """
        clear_attempts(self.folder)
        steps = self.steps()
        for step in reversed(steps):
            found = verify(self.path(step))
            if not found:
                return self.load(step)
            logger.warning("checkpoint step-%d is damaged and is passed over: %s", step, found[0])
        if steps:
            raise FolderError(f"none of the {len(steps)} checkpoints in {self.folder} verifies: restore one from a copy, or start again in another --out")
        return None
