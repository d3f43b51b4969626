"""Contrastive losses against their formulas written as loops over the examples of a batch."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from ftheta.architectures.architecture import Architecture, call
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.contract import PADDING, Batch
from ftheta.lifecycle.bench import Bench
from ftheta.lifecycle.equivalences import CHECKS
from ftheta.lifecycle.recipe import load
from ftheta.objectives.contrastive import Contrastive
from ftheta.objectives.objective import Phase

TAU = 0.1


def model(dropout: float = 0.0) -> Architecture:
    trunk = {"kind": "encoder", "vocab": 30, "dim": 16, "depth": 1, "context": 12, "mixer": {"kind": "attention", "heads": 2, "causal": False}, "dropout": dropout}
    made = HeadedConfig.parse({"kind": "headed", "trunk": trunk, "readout": {"kind": "embed", "normalise": False}}).build()
    made.initialise(0)
    for parameter in made.parameters():
        parameter.data.mul_(8)
    made.compute_dtype = torch.float64
    return made.double()


def pairs(negative: bool = False) -> Batch:
    draw = torch.Generator().manual_seed(0)
    batch: Batch = {"score": torch.tensor([0.1, 0.9, 0.4, 0.9, 0.0])}
    for width, side in enumerate(("first", "second", *(["negative"] if negative else []))):
        batch[side] = torch.randint(4, 30, (5, 7 + width), generator=draw)
        documents = torch.zeros(5, 7 + width, dtype=torch.int64)
        for row in range(5):
            documents[row, 4 + row % 3 :] = PADDING
        batch[f"{side}_documents"] = documents
    return batch


def vector(f: Architecture, batch: Batch, side: str, row: int) -> torch.Tensor:
    """The vector of one text read by itself, without padding."""
    real = batch[f"{side}_documents"][row] != PADDING
    return f(tokens=batch[side][row][real][None])["embedding"][0]


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a @ b) / (a @ a).sqrt() / (b @ b).sqrt()


def in_batch(f: Architecture, batch: Batch, both: bool) -> torch.Tensor:
    first = [vector(f, batch, "first", i) for i in range(5)]
    second = [vector(f, batch, "second", i) for i in range(5)]
    negative = [vector(f, batch, "negative", i) for i in range(5)] if "negative" in batch else []
    total = torch.zeros((), dtype=torch.float64)
    for i in range(5):
        there = -(cosine(first[i], second[i]) / TAU) + torch.stack([(cosine(first[i], b) / TAU).exp() for b in (*second, *negative)]).sum().log()
        back = -(cosine(first[i], second[i]) / TAU) + torch.stack([(cosine(a, second[i]) / TAU).exp() for a in first]).sum().log()
        total = total + ((there + back) / 2 if both else there)
    return total / 5


def cosent(f: Architecture, batch: Batch) -> torch.Tensor:
    c = [cosine(vector(f, batch, "first", i), vector(f, batch, "second", i)) for i in range(5)]
    total = torch.ones((), dtype=torch.float64)
    for i in range(5):
        for j in range(5):
            if batch["score"][i] < batch["score"][j]:
                total = total + ((c[i] - c[j]) / TAU).exp()
    return total.log()


def squares(f: Architecture, batch: Batch) -> torch.Tensor:
    return torch.stack([(cosine(vector(f, batch, "first", i), vector(f, batch, "second", i)) - batch["score"][i].double()) ** 2 for i in range(5)]).sum()


@pytest.mark.parametrize("form, both, negative", [
    ("in_batch", False, False), ("in_batch", True, False), ("in_batch", False, True), ("in_batch", True, True), ("cosent", False, False), ("cosine", False, False),
])
def test_equal_to_the_formula(form: str, both: bool, negative: bool) -> None:
    f, batch = model(), pairs(negative)
    objective = Contrastive.parse({"kind": "contrastive", "form": form, "both": both, "temperature": TAU})
    found = objective.loss(f, lambda part: call(f, part), batch, Phase("main"))
    found.total.backward()
    gradients = {name: p.grad.clone() for name, p in f.named_parameters() if p.grad is not None}
    f.zero_grad()
    wanted = {"in_batch": lambda: in_batch(f, batch, both), "cosent": lambda: cosent(f, batch), "cosine": lambda: squares(f, batch)}[form]()
    wanted.backward()
    assert math.isclose(found.total.item(), wanted.item(), rel_tol=1e-9)
    assert found.count == (5 if form == "cosine" else None) and objective.couples == (form != "cosine")
    assert gradients
    for name, parameter in f.named_parameters():
        if name in gradients:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-9, rtol=1e-7)


def test_pairs_without_an_order_teach_cosent_nothing() -> None:
    f, batch = model(), pairs()
    batch["score"] = torch.full((5,), 0.5)
    found = Contrastive(form="cosent").loss(f, lambda part: call(f, part), batch, Phase("main"))
    assert found.total.item() == 0


def test_simcse_is_a_text_against_itself_under_other_dropout() -> None:
    f = model(dropout=0.3).train()
    tokens = torch.randint(4, 30, (5, 9), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(5)
    found = Contrastive(form="simcse", temperature=TAU).loss(f, lambda part: call(f, part), {"tokens": tokens}, Phase("main"))
    torch.manual_seed(5)
    first, second = (F.normalize(f(tokens=tokens)["embedding"], dim=-1) for _ in range(2))
    assert not torch.equal(first, second)
    scores = first @ second.t() / TAU
    assert math.isclose(found.total.item(), (scores.logsumexp(1) - scores.diagonal()).mean().item(), rel_tol=1e-9)


def test_simcse_asks_for_dropout() -> None:
    assert "dropout" in Contrastive(form="simcse").needs().traits and "dropout" not in Contrastive().needs().traits
    assert [("dropout" in model(rate).config.ports().traits) for rate in (0.0, 0.1)] == [False, True]


@pytest.mark.parametrize("name", ["accumulation = big batch", "packed = unpacked", "two processes = one", "resumed = uninterrupted", "saved = loaded", "padding changes nothing"])
def test_the_equivalences_hold(name: str, tmp_path: Path) -> None:
    rows = [{"first": "a film of " + "b" * i, "second": f"{i} words", "score": i % 5 / 4} for i in range(20)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trunk = {"kind": "encoder", "dim": 16, "depth": 1, "context": 128, "mixer": {"kind": "attention", "heads": 2, "causal": False}, "dropout": 0.1}
    recipe = {
        "format": 1, "name": "tiny-pairs", "data": {"source": {"kind": "pairs", "path": str(tmp_path / "pairs.jsonl"), "score": "score"}, "tokenizer": {"kind": "bytes"}},
        "model": {"kind": "headed", "trunk": trunk, "readout": "embed"}, "objective": {"kind": "contrastive", "form": "cosent"}, "train": {"steps": 4, "batch": 7, "threads": 1},
    }
    found = list(CHECKS[name](Bench.of(load(recipe))))
    assert found
    for finding in found:
        assert finding.difference is not None or name == "packed = unpacked", finding
        assert finding.difference is None or finding.difference <= finding.tolerance, finding
