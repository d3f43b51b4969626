"""The trainer: one for every family that learns by gradients.

It knows phases, micro-batches, counts, precision, processes, checkpoints and events, and no family. A step is: fetch the batch; for
every phase and micro-batch run forward and backward on *sums*; add gradients and counts over processes; divide once; look whether
loss and gradient norm are finite on all processes; only then move the player's parameters.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture, Outputs, call
from ftheta.core import distributed, memory
from ftheta.core.contract import Batch
from ftheta.core.device import denormals_as_zero, pick
from ftheta.core.errors import DataError, FolderError, NonFiniteError, Stopped, UsageError
from ftheta.core.log import logger
from ftheta.core.random import seed_all
from ftheta.core.tensors import mismatches
from ftheta.data.source import Source
from ftheta.data.stream import Stream
from ftheta.objectives.objective import Objective, Phase
from ftheta.training.averaging import MovingAverage
from ftheta.training.backward import Part, accumulate
from ftheta.training.checkpoints import Checkpoints, State
from ftheta.training.config import TrainConfig
from ftheta.training.events import Events, Exhibit
from ftheta.training.optimizers.optimizer import restore_state, set_factor, state_tensors
from ftheta.training.precision import TYPES, choose
from ftheta.training.statistics import re_estimate
from ftheta.training.stopping import StopRequest

Ramp = Callable[[Batch, float], Batch]
"""Changes a training batch by the share of the budget used, such as shorter rows first."""
ROLLBACKS = 3
"""Rollbacks without a good checkpoint between them before the run is given up."""


@dataclass
class Progress:
    """The counters a checkpoint carries."""

    step: int = 0
    skipped_data: int = 0
    """Batches passed over after rollbacks: the data position is step + skipped_data."""
    units: int = 0
    """Tokens or examples seen."""
    seconds: float = 0.0
    """Spent in training steps."""
    waited: float = 0.0
    """Of these, spent waiting for data."""
    nonfinite: int = 0
    rollbacks: int = 0
    best_loss: float | None = None
    without_improvement: int = 0
    validation_loss: float | None = None
    precision: str = ""
    stopped_early: bool = False


@dataclass
class Sums:
    """Running (sum, count) pairs between two lines of metrics.jsonl."""

    pairs: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, total: float, count: float) -> None:
        pair = self.pairs.setdefault(name, [0.0, 0.0])
        pair[0] += total
        pair[1] += count

    def take(self) -> dict[str, float]:
        means = {name: total / count for name, (total, count) in self.pairs.items() if count}
        self.pairs.clear()
        return means


class Trainer:
    """Moves a model's parameters to lower an objective on a source, within a budget. Final: families differ in what it is given."""

    def __init__(
        self, model: Architecture, objective: Objective, source: Source, config: TrainConfig, *, seed: int, validation: Source | None = None,
        checkpoints: Checkpoints | None = None, events: Events | None = None, stop: StopRequest | None = None, facts: Mapping[str, Any] | None = None,
        ramp: Ramp | None = None, flops_per_step: float | None = None, show: Callable[[], Exhibit] | None = None,
    ):
        if source.live and config.on_nonfinite == "rollback":
            raise UsageError("train.on_nonfinite: rollback leaves out the data of a bad step, and experience cannot be left out: use stop or skip")
        if source.live and config.statistics:
            raise UsageError("train.statistics: experience is made by acting, and there are no batches to go through again: leave it out")
        self.device = pick(config.device)
        self.model = model.to(self.device)
        self.objective = objective
        self.source = source
        self.validation = validation
        self.config = config
        self.seed = seed
        self.checkpoints = checkpoints
        self.events = events or Events(None)
        self.stop = stop or StopRequest()
        self.facts = {"data": source.fingerprint, **(facts or {})}
        self.ramp = ramp
        self.flops_per_step = flops_per_step
        self.show = show
        self.phases = objective.phases()
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        self.optimizers = {phase.name: self.optimizers_of(phase) for phase in self.phases}
        self.average = MovingAverage(model, config.average.decay) if config.average else None
        self.progress = Progress()
        self.sums = Sums()
        self.rollbacks = 0                                                                # since the last checkpoint
        self.micro = self.micro_batch()
        self.last_line = (0, 0.0, 0)
        self.last_save = time.monotonic()
        self.slots = self.rank_slots(source.batch_size)

    # what the recipe amounts to

    def optimizers_of(self, phase: Phase) -> list[torch.optim.Optimizer]:
        prefix = f"{phase.player}." if phase.player else ""
        mine = [(name, p) for name, p in self.model.named_parameters() if name.startswith(prefix) and p.requires_grad]
        if not mine:
            raise UsageError(f"objective '{self.objective.name}' moves the model's '{phase.player}', which has no parameters")
        return self.config.players.get(phase.player, self.config.optimizer).build(mine)

    def micro_batch(self) -> int:
        share = -(-self.source.batch_size // distributed.world())
        micro = min(self.config.micro_batch or share, share)
        if micro < share and "batch_coupled" in self.model.config.ports().traits:
            raise UsageError(
                f"train.micro_batch {micro} would divide the {share} examples of a step, but this model's batch norm couples them: "
                "the result would differ; leave micro_batch out or choose a smaller batch"
            )
        return micro

    def rank_slots(self, batch: int) -> Tensor:
        """The rows of every step that belong to this process: a contiguous share."""
        shares = torch.arange(batch).tensor_split(distributed.world())
        return shares[distributed.rank()]

    def total_steps(self) -> int | None:
        """The budget in steps; None when it is minutes or open-ended sizes cannot be known."""
        config, source = self.config, self.source
        if config.steps:
            return config.steps
        if config.tokens:
            return math.ceil(config.tokens / (source.batch_size * source.units_per_example))
        if config.epochs:
            if source.steps_per_epoch is None:
                raise UsageError("train.epochs needs a data set with an end; give train.steps, tokens or minutes for this source")
            return max(1, math.ceil(config.epochs * source.steps_per_epoch))
        if config.flops:
            if self.flops_per_step is None:
                raise UsageError("train.flops needs a source whose work can be counted beforehand; give train.steps, tokens or minutes for this one")
            return max(1, round(config.flops / self.flops_per_step))
        if config.minutes:
            return None
        raise UsageError("train: give a budget: one of steps, epochs, tokens, minutes, flops")

    def share_used(self) -> float:
        steps = self.total_steps()
        return self.progress.seconds / (60 * self.config.minutes) if steps is None and self.config.minutes else self.progress.step / (steps or 1)

    # the loop

    @denormals_as_zero()
    def fit(self) -> Progress:
        """Train until the budget is used up. Raises Stopped (state saved), NonFiniteError, DataError, FolderError."""
        self.resume()
        with self.stop.deferred():
            stream = Stream(self.source, self.slots, self.config.workers)
            try:
                self.prepare()
                while self.share_used() < 1 and not self.progress.stopped_early:
                    if self.step(stream):
                        self.after_step()
                if self.checkpoints:
                    self.save(wait=True)
                if distributed.any_true(self.stop.asked):
                    raise Stopped("stopped at the end of training" + (", state saved" if self.checkpoints else ""))
            finally:
                stream.close()
                if self.checkpoints:
                    self.checkpoints.wait()
        if self.config.early_stop and self.checkpoints and (best := distributed.from_first(self.checkpoints.best())) is not None:
            state = self.checkpoints.load(best)
            self.load_parameters(state)
            if self.average:
                self.average.restore(state.groups["average"])
        if self.average:
            self.average.put(self.average.values)
        if self.config.statistics:
            self.events.event("statistics", batches=self.config.statistics, norms=re_estimate(self.model, self.passes(self.config.statistics)))
        return self.progress

    def passes(self, count: int) -> Iterator[Callable[[], object]]:
        """Forward passes over the first batches of training."""
        for step in range(count):
            batch = self.to_device(self.source.batch(step, self.slots, self.model))
            for phase in self.phases:
                parts = [self.begin(part, "statistics", step, phase.name, first) for first, part in self.micro_batches(batch)]
                yield lambda phase=phase, parts=parts: accumulate(self.objective, self.model, self.run, phase, parts, self.slots, self.source.batch_size)

    def prepare(self) -> None:
        """Choose the precision (or take the resumed run's) and compile."""
        config = self.config
        memory.keep()
        if self.progress.precision:
            self.model.compute_dtype = TYPES[self.progress.precision]
        else:
            wanted = config.precision
            if wanted == "auto" and self.source.live:
                wanted = "float32"                                                        # a trial batch would act in the environment
            self.progress.precision = distributed.from_first(choose(self.model, self.trial, wanted))
            self.model.compute_dtype = TYPES[self.progress.precision]
        if config.compile == "always" or (config.compile == "auto" and self.device.type == "cuda"):
            for part in self.model.compiled_parts():
                part.compile()
        self.events.event("start", step=self.progress.step, precision=self.progress.precision, threads=torch.get_num_threads(), device=str(self.device))

    def trial(self) -> None:
        """One forward and backward pass that leaves nothing behind."""
        before = self.buffers()
        batch = self.to_device(self.source.batch(0, self.slots, self.model))
        for phase in self.phases:
            self.backward(batch, phase, -1)
        self.model.zero_grad(set_to_none=True)
        self.put_buffers(before)

    def buffers(self) -> list[Tensor]:
        """Copies of what forward passes change, such as the running statistics of batch norm."""
        return [buffer.clone() for buffer in self.model.buffers()]

    def put_buffers(self, values: list[Tensor]) -> None:
        for buffer, value in zip(self.model.buffers(), values, strict=True):
            buffer.copy_(value)

    def step(self, stream: Stream) -> bool:
        """One training step: every phase once. False when it ended in a rollback."""
        start = time.perf_counter()
        progress, waited = self.progress, stream.waited
        self.model.train()
        batch = self.to_device(stream.get(progress.step + progress.skipped_data, self.model))
        factor = self.factor()
        before = self.buffers() if self.config.on_nonfinite == "skip" else []
        done = True
        for phase in self.phases:
            loss, norm = self.gradients(batch, phase)
            if distributed.any_true(not (math.isfinite(loss) and math.isfinite(norm))):
                self.model.zero_grad(set_to_none=True)
                done = self.nonfinite(phase, loss, norm)
                self.put_buffers(before) if before else None                              # running statistics have seen the bad batch
                break
            if self.checkpoints:
                self.checkpoints.settle()
            for optimizer in self.optimizers[phase.name]:
                set_factor(optimizer, factor)
                optimizer.step()
            self.model.zero_grad(set_to_none=True)
        if not done:
            return False
        self.model.follow()
        progress.step += 1
        progress.units += self.source.batch_size * self.source.units_per_example
        if self.average:
            self.average.update(progress.step)
        progress.seconds += distributed.from_first(time.perf_counter() - start)
        progress.waited += stream.waited - waited
        return True

    def factor(self) -> float:
        return self.config.schedule.factor(self.share_used())

    def gradients(self, batch: Batch, phase: Phase) -> tuple[float, float]:
        """Mean gradient of one phase, over all micro-batches and processes; its loss and norm. Clipped."""
        while True:
            try:
                total, count, metrics = self.backward(batch, phase, self.progress.step)
                break
            except torch.OutOfMemoryError:
                self.model.zero_grad(set_to_none=True)
                if self.micro <= 1 or "batch_coupled" in self.model.config.ports().traits:
                    raise
                self.micro = -(-self.micro // 2)
                logger.warning("out of memory: going on with micro-batches of %d; the step's gradient stays the same", self.micro)
        moving = [p for optimizer in self.optimizers[phase.name] for group in optimizer.param_groups for p in group["params"]]
        if distributed.world() > 1:
            known = torch.tensor([parameter.grad is not None for parameter in moving], dtype=torch.float64)
            distributed.sum_([known])
            for parameter, somewhere in zip(moving, known.tolist(), strict=True):          # a process without rows has no gradients; what none has stays still
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None and somewhere else parameter.grad
            names = distributed.from_first(sorted(metrics))                                 # a process without rows has none
            numbers = torch.tensor([total, count, *(value for name in names for value in metrics.get(name, (0.0, 0.0)))], dtype=torch.float64)
            distributed.sum_([numbers, *(p.grad for p in moving if p.grad is not None)])
            total, count, *rest = numbers.tolist()
            metrics = {name: (rest[2 * i], rest[2 * i + 1]) for i, name in enumerate(names)}
        grads = [p.grad for p in moving if p.grad is not None]
        share = 1.0 / max(count, 1.0)
        norm = float(torch.nn.utils.get_total_norm(grads)) * share
        if self.config.clip and norm > self.config.clip and math.isfinite(norm):
            share *= self.config.clip / (norm + 1e-12)
        torch._foreach_mul_(grads, share)
        prefix = f"{phase.name}_" if len(self.phases) > 1 else ""
        if math.isfinite(total):
            self.sums.add(f"{prefix}loss", total, count)
            self.sums.add(f"{prefix}gradient_norm", norm, 1)
            for name, (value, weight) in metrics.items():
                self.sums.add(prefix + name, value, weight)
        return total / max(count, 1.0), norm

    def backward(self, batch: Batch, phase: Phase, step: int) -> tuple[float, float, dict[str, tuple[float, float]]]:
        """Add up the gradients of sums over this process's micro-batches; the total, the count and further metrics."""
        parts = [self.begin(part, "step", step, phase.name, first) for first, part in self.micro_batches(batch)]
        found = accumulate(self.objective, self.model, self.run, phase, parts, self.slots, self.source.batch_size)
        return found.total, found.count, found.metrics

    def begin(self, part: Batch, *place: int | str) -> Part:
        """A micro-batch of training, with the draws of its place."""

        def begun() -> Batch:
            seed_all(self.seed, *place)
            return part if self.ramp is None else self.ramp(part, self.share_used())

        return begun

    def micro_batches(self, batch: Batch) -> Iterator[tuple[int, Batch]]:
        """Slices of the batch's rows; the number of a slice's first row within the step."""
        rows = len(self.slots)
        if rows <= self.micro:
            if rows:
                yield int(self.slots[0]), batch
            return
        for start in range(0, rows, self.micro):
            yield int(self.slots[start]), {name: value[start : start + self.micro] for name, value in batch.items()}

    def run(self, batch: Batch, **more: Tensor) -> Outputs:
        return call(self.model, batch, **more)

    def to_device(self, batch: Batch) -> Batch:
        if self.device.type == "cpu":
            return batch
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}

    def nonfinite(self, phase: Phase, loss: float, norm: float) -> bool:
        """A loss or gradient is not a finite number; parameters are untouched. True when the step counts as done."""
        progress = self.progress
        progress.nonfinite += 1
        what = f"step {progress.step}, {phase.name}: loss {loss}, gradient norm {norm}"
        self.events.event("nonfinite", step=progress.step, phase=phase.name, action=self.config.on_nonfinite)
        if self.config.on_nonfinite == "skip":
            logger.warning("%s: left out", what)
            return True
        if self.config.on_nonfinite == "rollback" and self.checkpoints and self.rollbacks < ROLLBACKS:
            state = self.newest()
            if state is not None:
                position = progress.step + progress.skipped_data
                seen = (progress.rollbacks + 1, progress.nonfinite)
                self.load(state)
                self.progress.rollbacks, self.progress.nonfinite = seen
                self.rollbacks += 1
                self.progress.skipped_data = position + 1 - self.progress.step
                self.events.rewind(self.progress.step)
                logger.warning("%s: back to step %d, its data is left out", what, self.progress.step)
                return False
        raise NonFiniteError(
            f"{what} is not a finite number; the parameters were not touched. Lower train.optimizer.rate, add schedule.warmup, look at the data, "
            "or set train.on_nonfinite to skip or rollback"
        )

    def after_step(self) -> None:
        """Log, validate, save, and stop if asked to."""
        config, progress = self.config, self.progress
        done = self.share_used() >= 1
        if progress.step % config.log_every == 0 or done or progress.step == 1:
            self.log_line()
        if config.validation and self.validation and (progress.step % config.validation.every == 0 or done):
            self.validate()
        if config.show_every and self.show is not None and distributed.rank() == 0 and (progress.step % config.show_every == 0 or done):
            self.model.eval()
            with torch.no_grad(), self.averaged():
                self.events.exhibit(progress.step, *self.show())
        due = config.checkpoint.every is not None and progress.step % config.checkpoint.every == 0
        due = due or (config.checkpoint.minutes is not None and time.monotonic() - self.last_save > 60 * config.checkpoint.minutes)
        if self.checkpoints and distributed.from_first(due) and not done:
            self.save(wait=not config.checkpoint.asynchronous)
        if distributed.any_true(self.stop.asked):
            if self.checkpoints:
                self.save(wait=True)
            raise Stopped(f"stopped at step {progress.step:,}" + (", state saved" if self.checkpoints else ""))

    def log_line(self) -> None:
        progress, (_, seconds, units) = self.progress, self.last_line
        rate = (progress.units - units) / max(progress.seconds - seconds, 1e-9)
        self.last_line = (progress.step, progress.seconds, progress.units)
        self.events.metrics(
            step=progress.step, **self.sums.take(), **self.source.statistics(), rate_factor=self.factor(), units=progress.units, seconds=round(progress.seconds, 4),
            units_per_second=round(rate, 1), progress=round(min(1.0, self.share_used()), 6),
        )
        for shown in self.source.exhibits():
            self.events.event("exhibit", step=progress.step, **shown)

    def validate(self) -> None:
        """The objective's mean loss on the first batches of the validation split; sums only, no outputs are kept."""
        assert self.validation is not None and self.config.validation is not None
        source, count, total = self.validation, 0.0, 0.0
        steps = min(self.config.validation.batches, source.steps_per_epoch or self.config.validation.batches)
        slots = self.rank_slots(source.batch_size)
        self.model.eval()
        with torch.no_grad(), self.averaged():
            for step in range(steps):
                seed_all(self.seed, "validate", step)
                batch = self.to_device(source.batch(step, slots, self.model))
                found = accumulate(self.objective, self.model, self.run, self.phases[-1], [lambda batch=batch: batch] if len(slots) else [], slots, source.batch_size)
                total, count = total + found.total, count + found.count
        numbers = torch.tensor([total, count], dtype=torch.float64)
        distributed.sum_([numbers])
        loss = float(numbers[0] / numbers[1].clamp_min(1))
        progress = self.progress
        progress.validation_loss = loss
        self.events.metrics(step=progress.step, validation_loss=loss, seconds=round(progress.seconds, 4), units=progress.units)
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.without_improvement = loss, 0
            if self.config.early_stop and self.checkpoints:
                self.save(wait=False)
        else:
            progress.without_improvement += 1
            progress.stopped_early = bool(self.config.early_stop and progress.without_improvement >= self.config.early_stop.patience)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """The model as it would be saved."""
        return self.average.in_place() if self.average else contextlib.nullcontext()

    # states

    def state(self) -> State:
        """Everything needed to continue exactly."""
        optimizers = [optimizer for group in self.optimizers.values() for optimizer in group]
        groups = {"model": self.model.theta(), "optimizer": state_tensors(optimizers, self.names)}
        if self.average:
            groups["average"] = dict(self.average.values)
        tensors, plain = self.source.state()
        if tensors:
            groups["source"] = tensors
        facts = {**self.facts, "threads": torch.get_num_threads(), "torch": torch.__version__, "world": distributed.world()}
        return State(self.progress.step, groups, {**vars(self.progress), "source": plain, "sums": self.sums.pairs}, facts)

    def save(self, wait: bool) -> None:
        """Commit a checkpoint from the first process; any failure is everybody's."""
        assert self.checkpoints is not None
        self.rollbacks = 0
        error: BaseException | None = None
        if distributed.rank() == 0:
            try:
                if wait:
                    self.checkpoints.wait()
                    self.checkpoints.save(self.state())
                else:
                    self.checkpoints.save_behind(self.state())
            except (OSError, FolderError) as failure:
                error = failure
        if distributed.any_true(error is not None):
            reason = f"{error}" if error else "the first process failed"
            raise FolderError(f"the checkpoint at step {self.progress.step:,} could not be written: {reason}; earlier checkpoints are untouched") from error
        self.last_save = time.monotonic()
        self.events.event("checkpoint", step=self.progress.step)

    def newest(self) -> State | None:
        """The newest checkpoint that verifies, as the first process sees it: only one may judge, and tidy up beside its own writer."""
        if self.checkpoints is None:
            return None
        state: State | None = None
        if distributed.rank() == 0:
            self.checkpoints.wait()
            state = self.checkpoints.newest()
        step = distributed.from_first(state.step if state else None)
        return self.checkpoints.load(step) if state is None and step is not None else state

    def resume(self) -> None:
        """Continue from the newest checkpoint that verifies, if there is one."""
        state = self.newest()
        if state is None:
            self.events.rewind(-1)
            return
        if state.facts.get("data") != self.facts["data"]:
            raise DataError("the data has changed since this run's checkpoint was saved (its fingerprint differs): restore the data, or start a new run with another --out")
        if state.facts.get("companion") != self.facts.get("companion"):
            raise DataError("the objective's other model has changed since this run's checkpoint was saved: restore it, or start a new run with another --out")
        for name, now in (("threads", torch.get_num_threads()), ("world", distributed.world()), ("torch", torch.__version__)):
            if state.facts.get(name) != now:
                what = {"threads": "threads", "world": "processes", "torch": "as torch's version"}[name]
                logger.warning("continuing with %s %s instead of %s: the result will be close, not exact", now, what, state.facts.get(name))
        self.load(state)
        self.events.rewind(state.step)
        logger.info("continuing from step %s", f"{state.step:,}")
        self.events.event("resume", step=state.step)

    def load(self, state: State) -> None:
        self.load_parameters(state)
        optimizers = [optimizer for group in self.optimizers.values() for optimizer in group]
        restore_state(optimizers, self.names, state.groups["optimizer"])
        if self.average:
            self.average.restore(state.groups["average"])
        counters = dict(state.counters)
        self.source.restore(state.groups.get("source", {}), counters.pop("source"))
        self.sums.pairs = {name: list(pair) for name, pair in counters.pop("sums").items()}
        self.progress = Progress(**counters)
        self.last_line = (self.progress.step, self.progress.seconds, self.progress.units)

    def load_parameters(self, state: State) -> None:
        if found := mismatches(state.groups["model"], self.model.theta()):
            raise FolderError("the checkpoint does not fit the model: " + "; ".join(found))
        self.model.load_theta(state.groups["model"])
