"""Gradients of coupled losses in micro-batches and over processes are those of the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ftheta.architectures.headed import HeadedConfig
from ftheta.core import tensors as tensor_files
from ftheta.core.contract import Batch, Loss, Needs, Ports
from ftheta.core.errors import UsageError
from ftheta.core.random import seed_all
from ftheta.data.source import Dataset, Shuffled
from ftheta.objectives.contrastive import Contrastive
from ftheta.objectives.objective import Coupled, Phase, Run
from ftheta.training.backward import together
from ftheta.training.config import TrainConfig
from ftheta.training.trainer import Trainer

ROWS = 7


class Texts(Dataset):
    """A few made-up pairs of rows of tokens with scores."""

    ports = Ports(gives={"first": "ids B T", "second": "ids B T"})
    fingerprint = "texts"

    def __len__(self) -> int:
        return 14

    def batch(self, rows: Tensor) -> Batch:
        draws = torch.Generator().manual_seed(3)
        made = {name: torch.randint(4, 30, (14, 8), generator=draws)[rows] for name in ("first", "second", "negative", "tokens")}
        documents = {f"{name}_documents": torch.zeros(len(rows), 8, dtype=torch.int64) for name in ("first", "second", "negative")}
        return {**made, **documents, "score": torch.rand(14, generator=draws)[rows]}


def model(dropout: float) -> Any:
    trunk = {"kind": "encoder", "vocab": 30, "dim": 16, "depth": 2, "context": 12, "mixer": {"kind": "attention", "heads": 2, "causal": False}, "dropout": dropout}
    made = HeadedConfig.parse({"kind": "headed", "trunk": trunk, "readout": "embed"}).build()
    made.initialise(0)
    for parameter in made.parameters():
        parameter.data.mul_(4)
    made.compute_dtype = torch.float64
    return made.double()


def trainer(objective: Any, micro: int | None, dropout: float = 0.0) -> Trainer:
    config = TrainConfig(steps=1, batch=ROWS, micro_batch=micro, clip=None, precision="float32", device="cpu")
    return Trainer(model(dropout), objective, Shuffled(Texts(), ROWS, 0), config, seed=0)


def gradients(made: Trainer) -> tuple[dict[str, Tensor], float]:
    batch = made.source.batch(0, made.slots, None)
    made.model.train()
    loss, _ = made.gradients(batch, Phase("main"))
    return {made.names[p]: p.grad.clone() for p in made.model.parameters() if p.grad is not None}, loss


def alike(found: dict[str, Tensor], wanted: dict[str, Tensor], limit: float = 1e-9) -> None:
    assert found.keys() == wanted.keys() and wanted
    for name in wanted:
        assert (found[name] - wanted[name]).norm() <= limit * (1e-3 + wanted[name].norm()), name


FORMS = [{"form": "in_batch"}, {"form": "in_batch", "both": True}, {"form": "cosent"}, {"form": "cosine"}]


@pytest.mark.parametrize("fields", FORMS, ids=str)
@pytest.mark.parametrize("micro", [3, 1])
def test_micro_batches_give_the_gradient_of_the_whole_batch(fields: dict[str, Any], micro: int) -> None:
    objective = Contrastive(**fields)
    wanted, loss = gradients(trainer(objective, None))
    found, again = gradients(trainer(objective, micro))
    alike(found, wanted)
    assert abs(loss - again) < 1e-12 * max(1, abs(loss))


def test_the_whole_batch_is_followed_back_as_by_the_loss_itself() -> None:
    made = trainer(Contrastive(), None)
    found, _ = gradients(made)
    made.model.zero_grad()
    made.objective.loss(made.model, made.run, made.source.batch(0, made.slots, None), Phase("main")).total.backward()
    for name, parameter in made.model.named_parameters():
        if name in found:
            assert torch.equal(found[name], parameter.grad), name


@pytest.mark.parametrize("form", ["in_batch", "simcse"])
def test_both_passes_draw_the_same_dropout(form: Any) -> None:
    """Against one graph over all micro-batches, each under the draws of its place."""
    objective = Contrastive(form=form)
    made = trainer(objective, 3, dropout=0.3)
    found, loss = gradients(made)
    made.model.zero_grad()
    batch, parts = made.source.batch(0, made.slots, None), []
    for first in (0, 3, 6):
        seed_all(0, "step", 0, "main", first)
        parts.append(objective.embed(made.model, made.run, {name: value[first : first + 3] for name, value in batch.items()}, Phase("main")))
    whole = objective.couple({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, Phase("main"))
    whole.total.backward()
    assert abs(whole.total.item() - loss) < 1e-12
    alike(found, {name: p.grad for name, p in made.model.named_parameters() if p.grad is not None})


class Scaled(Coupled):
    """In-batch pairs whose temperature is learned, as CLIP's is: a tensor for the whole batch."""

    kind: str = "scaled"

    def needs(self) -> Needs:
        return Needs()

    def embed(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Batch:
        return {"a": batch["x"] @ model.a, "b": batch["x"] @ model.b, "scale": model.scale * 2, "row": batch["row"]}      # type: ignore[operator]

    def couple(self, embedded: Batch, phase: Phase) -> Loss:
        assert embedded["row"].tolist() == list(range(ROWS)) and embedded["scale"].ndim == 0
        scores = embedded["a"] @ embedded["b"].t() * embedded["scale"].exp()
        return Loss(nn.functional.cross_entropy(scores, torch.arange(ROWS)), None)


def test_what_is_one_for_the_whole_batch_is_followed_back_once() -> None:
    draws = torch.Generator().manual_seed(0)
    x, made = torch.randn(ROWS, 5, generator=draws, dtype=torch.float64), nn.Module()
    for name, shape in {"a": (5, 4), "b": (5, 4), "scale": ()}.items():
        made.register_parameter(name, nn.Parameter(torch.randn(shape, generator=draws, dtype=torch.float64) * 0.3))
    batch, objective = {"x": x, "row": torch.arange(ROWS)}, Scaled()
    objective.loss(made, lambda: None, batch, Phase("main")).total.backward()
    wanted = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
    made.zero_grad()
    parts = [lambda first=first: {name: value[first : first + 2] for name, value in batch.items()} for first in range(0, ROWS, 2)]
    together(objective, made, lambda: None, Phase("main"), parts, torch.arange(ROWS), ROWS)
    alike({name: p.grad for name, p in made.named_parameters() if p.grad is not None}, wanted)


class Whole(Contrastive):
    """Says that it couples, and not through what."""

    @property
    def couples(self) -> bool:
        return False

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        return self.couple(self.embed(model, run, batch, phase), phase)


def test_a_loss_that_couples_without_saying_how_is_refused_in_micro_batches() -> None:
    with pytest.raises(UsageError, match="couples the examples"):
        gradients(trainer(Whole(), 3))


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from test_backward import Contrastive, gradients, trainer
from ftheta.core import distributed, tensors
torch.set_num_threads(1)
distributed.start()
made = trainer(Contrastive(form=sys.argv[3]), int(sys.argv[4]))
found, loss = gradients(made)
made.validation = made.source
made.validate()
if distributed.rank() == 0:
    found = {**found, "loss": torch.tensor(loss, dtype=torch.float64), "validation": torch.tensor(made.progress.validation_loss, dtype=torch.float64)}
    Path(sys.argv[2]).write_bytes(b"".join(tensors.pieces(found)))
distributed.barrier()
distributed.stop()
"""


@pytest.mark.parametrize("form, micro", [("in_batch", 4), ("cosent", 2)])
def test_two_processes_give_the_gradient_of_one(form: Any, micro: int, tmp_path: Path) -> None:
    """7 rows are 4 and 3; the micro-batches of 2 take two passes."""
    arguments = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path / "found"), form, str(micro)]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000 + micro)}
    started = [subprocess.Popen(arguments, env={**os.environ, **group, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE) for rank in "01"]
    said = [process.communicate(timeout=120)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    found = tensor_files.read(tmp_path / "found")
    alone = trainer(Contrastive(form=form), None)
    wanted, loss = gradients(alone)
    alone.validation = alone.source
    alone.validate()
    assert abs(float(found.pop("loss")) - loss) < 1e-12
    assert abs(float(found.pop("validation")) - float(alone.progress.validation_loss or 0)) < 1e-12
    # parameters without a gradient here (of the other outputs) have zeros there
    alike({name: value for name, value in found.items() if name in wanted}, wanted)
