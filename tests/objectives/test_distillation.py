"""Distillation against its formula on whole logits, and a run whose teacher stays where it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import tiny
from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import Architecture, call
from ftheta.core import tensors
from ftheta.core.config import Slot
from ftheta.core.contract import PADDING, Batch
from ftheta.core.errors import ConfigError, DataError, Stopped, UsageError
from ftheta.core.random import Draws
from ftheta.lifecycle.bench import Bench
from ftheta.lifecycle.build import misfits
from ftheta.lifecycle.equivalences import CHECKS
from ftheta.lifecycle.lifecycle import run
from ftheta.lifecycle.recipe import load
from ftheta.objectives import distillation
from ftheta.objectives.distillation import Distillation
from ftheta.objectives.objective import Phase

MAIN = Phase("main")
KINDS: dict[str, dict[str, Any]] = {
    "next_token": {"kind": "decoder", "vocab": 40, "dim": 16, "depth": 1, "context": 12, "mixer": {"kind": "attention", "heads": 2}},
    "masked": {"kind": "encoder", "vocab": 40, "dim": 16, "depth": 1, "context": 12, "mixer": {"kind": "attention", "heads": 2, "causal": False}, "head": "transformed"},
    "classification": {"kind": "headed", "classes": 3, "trunk": {"kind": "encoder", "vocab": 40, "dim": 16, "depth": 1, "context": 12,
                       "mixer": {"kind": "attention", "heads": 2, "causal": False}}, "readout": {"kind": "classify", "dropout": 0.0}},
}


def model(of: str, seed: int, depth: int = 1) -> Architecture:
    fields = dict(KINDS[of])
    if of != "classification":
        fields["depth"] = depth
    made: Architecture = Slot(ARCHITECTURES).parse(fields).build()                             # type: ignore[attr-defined]
    made.initialise(seed)
    for parameter in made.parameters():
        parameter.data.mul_(6)
    made.compute_dtype = torch.float64
    return made.double()


def batch(of: str) -> Batch:
    draws = torch.Generator().manual_seed(0)
    found: Batch = {"tokens": torch.randint(4, 40, (5, 9), generator=draws)}
    documents = torch.zeros(5, 9, dtype=torch.int64)
    documents[0, 5:], documents[2, 3:] = PADDING, 1
    found["documents"] = documents
    return {**found, "label": torch.tensor([0, 2, 1, 1, 0])} if of == "classification" else found


def taught(objective: Distillation, teacher: Architecture) -> Distillation:
    return objective.accompanied(teacher, lambda part, **more: call(teacher, part, **more))


def wanted(of: str, f: Architecture, teacher: Architecture, b: Batch, tau: float, alpha: float, beta: float) -> tuple[torch.Tensor, int]:
    """By the textbook: a loop over places, every probability written out."""
    if of == "next_token":
        inputs = {"tokens": b["tokens"][:, :-1], "documents": b["documents"][:, :-1]}
        there = [(r, t, int(b["tokens"][r, t + 1])) for r in range(5) for t in range(8) if b["documents"][r, t] == b["documents"][r, t + 1] >= 0]
    elif of == "masked":
        inputs, there = b, [(r, t, int(b["targets"][r, t])) for r in range(5) for t in range(9) if b["chosen"][r, t]]
    else:
        inputs, there = b, [(r, None, int(b["label"][r])) for r in range(5)]
    mine, theirs = call(f, inputs), call(teacher, inputs)
    total = torch.zeros((), dtype=torch.float64)
    for r, t, right in there:
        place = (r,) if t is None else (r, t)
        z, other = mine["logits"][place].double(), theirs["logits"][place].detach().double()
        hard = -(z[right] - z.exp().sum().log())
        q, p = (torch.exp(other / tau) / torch.exp(other / tau).sum()), (torch.exp(z / tau) / torch.exp(z / tau).sum())
        total = total + alpha * hard + (1 - alpha) * tau**2 * (q * (q / p).log()).sum()
        if beta:
            h, g = mine["hidden"][place], theirs["hidden"][place].detach()
            total = total + beta * (1 - (h @ g) / (h.norm() * g.norm()))
    return total, len(there)


@pytest.mark.parametrize("of, tau, alpha, beta", [
    ("next_token", 2.0, 0.5, 0.0), ("next_token", 1.0, 0.0, 0.7), ("next_token", 3.0, 1.0, 0.0), ("masked", 2.0, 0.3, 0.5), ("classification", 4.0, 0.2, 0.0),
])
def test_equal_to_the_formula(of: str, tau: float, alpha: float, beta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "CHUNK", 7)                                             # several chunks, the last one shorter
    f, teacher = model(of, 0), model(of, 1, depth=2)
    objective = Distillation.parse({"kind": "distillation", "teacher": "t", "of": of, "temperature": tau, "labels": alpha, "hidden": beta})
    b = objective.prepare(batch(of), Draws(torch.arange(5), 5, 0, "test"))
    found = taught(objective, teacher).loss(f, lambda part, **more: call(f, part, **more), b, MAIN)
    found.total.backward()
    gradients = {name: p.grad.clone() for name, p in f.named_parameters() if p.grad is not None}
    f.zero_grad()
    total, count = wanted(of, f, teacher, b, tau, alpha, beta)
    total.backward()
    assert abs(found.total.item() - total.item()) <= 1e-9 * abs(total.item()) and float(found.count or 0) == count
    for name, parameter in f.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-9, rtol=1e-7)
    assert all(p.grad is None for p in teacher.parameters()) and not teacher.training


def test_smoothing_is_that_of_what_is_taught() -> None:
    f, teacher, b = model("classification", 0), model("classification", 1), batch("classification")
    objective = Distillation.parse({"kind": "distillation", "teacher": "t", "of": {"kind": "classification", "smoothing": 0.2}, "labels": 1.0})
    found = taught(objective, teacher).loss(f, lambda part, **more: call(f, part, **more), b, MAIN)
    torch.testing.assert_close(found.total, F.cross_entropy(call(f, b)["logits"], b["label"], label_smoothing=0.2, reduction="sum"))


def test_a_model_that_is_its_teacher_has_nothing_to_learn_from_it() -> None:
    f, b = model("next_token", 0), batch("next_token")
    found = taught(Distillation(teacher="t", labels=0.0, hidden=1.0), model("next_token", 0)).loss(f, lambda part, **more: call(f, part, **more), b, MAIN)
    assert abs(found.total.item()) < 1e-12


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="asks for one answer a row"):
        Distillation.parse({"kind": "distillation", "teacher": "t", "of": "classification", "hidden": 1.0})
    f = model("next_token", 0)
    with pytest.raises(UsageError, match="has not been loaded"):
        Distillation(teacher="t").loss(f, lambda part, **more: call(f, part, **more), batch("next_token"), MAIN)
    wide = Slot(ARCHITECTURES).parse({**KINDS["next_token"], "dim": 32}).build()               # type: ignore[attr-defined]
    wide.initialise(0)
    with pytest.raises(UsageError, match="16 and the teacher's 32"):
        taught(Distillation(teacher="t", hidden=1.0), wide).loss(f, lambda part, **more: call(f, part, **more), batch("next_token"), MAIN)


# whole runs


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, its run a few steps long."""
    place = tmp_path_factory.mktemp("teacher")
    recipe = tiny.language(tiny.write_texts(place / "texts"))
    return run({**recipe, "train": {**recipe["train"], "steps": 4}}, out=place / "run").model_folder


def recipe(teacher: Path) -> dict[str, Any]:
    texts = teacher.parent.parent / "texts"
    made = tiny.language(texts)
    return {**made, "objective": {"kind": "distillation", "teacher": str(teacher)}, "data": {**made["data"], "tokenizer": {"kind": "file", "path": str(teacher)}}}


def test_a_stopped_run_goes_on_as_if_it_had_not_been(teacher: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in teacher.iterdir()}
    whole = run(recipe(teacher), out=tmp_path / "whole")

    def stop(event: str, facts: Any) -> None:
        if event == "metrics" and facts["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Stopped)):
        run(recipe(teacher), out=tmp_path / "parts", listeners=[stop])
    parts = run(recipe(teacher), out=tmp_path / "parts")
    assert (whole.model_folder / "model.safetensors").read_bytes() == (parts.model_folder / "model.safetensors").read_bytes()
    assert before == {path.name: path.read_bytes() for path in teacher.iterdir()}
    saved = tensors.read(whole.model_folder / "model.safetensors")
    assert saved.keys() == tensors.read(teacher / "model.safetensors").keys()
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "labels", "teacher"} <= lines[0].keys()


def test_another_teacher_cannot_take_its_place(teacher: Path, tmp_path: Path) -> None:
    own = tmp_path / "teacher"
    shutil.copytree(teacher, own)
    changed = {**recipe(teacher), "objective": {"kind": "distillation", "teacher": str(own)}}

    def stop(event: str, facts: Any) -> None:
        if event == "metrics" and facts["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Stopped)):
        run(changed, out=tmp_path / "run", listeners=[stop])
    other = run({**tiny.language(teacher.parent.parent / "texts"), "seed": 3}, out=tmp_path / "other").model_folder
    shutil.rmtree(own)
    shutil.copytree(other, own)
    with pytest.raises(DataError, match="other model has changed"):
        run(changed, out=tmp_path / "run")


def test_check_says_why_a_teacher_does_not_fit(teacher: Path, tmp_path: Path) -> None:
    assert misfits(load(recipe(teacher))) == []
    (reason,) = misfits(load({**recipe(teacher), "objective": {"kind": "distillation", "teacher": str(tmp_path / "nowhere")}}))
    assert "is not a folder" in reason
    found = misfits(load({**recipe(teacher), "data": {**recipe(teacher)["data"], "pack": {"length": 64}}}))
    assert any(str(teacher) in reason and "context length" in reason for reason in found)
    encoder = {"kind": "encoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}}
    found = misfits(load({**recipe(teacher), "model": encoder, "objective": {"kind": "distillation", "teacher": str(teacher), "of": "masked"}}))
    assert found and all(str(teacher) in reason and "only looks back" in reason for reason in found)


def test_a_teacher_of_other_tokens_is_refused(teacher: Path, tmp_path: Path) -> None:
    file = json.loads((teacher / "tokenizer.json").read_text())
    file["model"]["vocab"] = {"Q!" if token == "Q" else token: i for token, i in file["model"]["vocab"].items()}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    other = recipe(teacher)
    other["data"]["tokenizer"] = {"kind": "file", "path": str(tmp_path / "tokenizer.json"), "special": {"bos": "<bos>", "eos": "<eos>"}}
    with pytest.raises(ConfigError, match="knows other tokens than the data is made of"):
        run(other, out=tmp_path / "run")
    smaller = {**other, "data": {**other["data"], "tokenizer": {"kind": "byte_bpe", "vocab": 280}}}
    assert any("they must be the same" in reason for reason in misfits(load(smaller)))


@pytest.mark.parametrize("name", ["accumulation = big batch", "packed = unpacked"])
def test_the_equivalences_hold(name: str, teacher: Path) -> None:
    found = list(CHECKS[name](Bench.of(load(recipe(teacher)))))
    assert found and all(finding.difference is not None and finding.difference <= finding.tolerance for finding in found), found
