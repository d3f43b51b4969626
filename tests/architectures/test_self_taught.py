"""Learning from one's own slow average: what is said, what is learned and how teacher and center follow, against the formulas written out."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny

import ftheta
from ftheta.architectures.architecture import call
from ftheta.architectures.self_taught import SelfTaught, SelfTaughtConfig
from ftheta.core.config import merge
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError
from ftheta.core.tensors import read
from ftheta.evaluation.probes.small import scatter
from ftheta.lifecycle import certify, equivalences
from ftheta.lifecycle.bench import Bench
from ftheta.lifecycle.recipe import load
from ftheta.objectives.objective import Phase
from ftheta.objectives.self_distillation import SelfDistillation

TRUNK = {"kind": "resnet", "channels": 1, "classes": 3, "depths": [1, 1], "widths": [8, 16], "stem": "small"}
AIM = {"kind": "self_distillation", "views": [{"kind": "affine", "shift": 1}]}


def self_taught(**fields: Any) -> SelfTaught:
    config = SelfTaughtConfig.parse({"kind": "self_taught", "trunk": TRUNK, "hidden": 12, "width": 5, "prototypes": 7, **fields})
    return scatter(config.build(), 0).eval()                                               # type: ignore[return-value]


def cosines(part: Any, features: torch.Tensor) -> torch.Tensor:
    """(B, P) as the paper has it, in float64."""
    def gelu(x: torch.Tensor) -> torch.Tensor:
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2

    z = features.double()
    for number, name in enumerate(("first", "second", "third")):
        layer = getattr(part, name)
        z = z @ layer.weight.double().T + layer.bias.double()
        z = gelu(z) if number < 2 else z
    rows = part.prototypes.weight.double()
    return (z / z.norm(dim=1, keepdim=True)) @ (rows / rows.norm(dim=1, keepdim=True)).T


def test_both_say_cosines_with_prototypes() -> None:
    model, image = self_taught(), torch.rand(4, 1, 8, 8)
    model.center.copy_(torch.linspace(-0.2, 0.2, 7))
    found = model(image=image)
    assert torch.equal(found["features"], model.trunk(image=image)["features"])
    torch.testing.assert_close(found["assigned"].double(), cosines(model.head, found["features"]), rtol=0, atol=1e-6)
    theirs = model.teacher.trunk(image=image)["features"]
    torch.testing.assert_close(found["taught"].double(), cosines(model.teacher.head, theirs) - model.center, rtol=0, atol=1e-6)
    assert not torch.allclose(found["assigned"], found["taught"])


def test_the_loss_is_the_formula_and_only_the_model_learns() -> None:
    model, draws = self_taught(), torch.Generator().manual_seed(0)
    batch = {name: torch.rand(5, 1, 8, 8, generator=draws) for name in ("image", "other")}
    expected = 0.0
    with torch.no_grad():
        said = {name: model(image=batch[name]) for name in batch}
        for one, other in (("image", "other"), ("other", "image")):
            for i in range(5):
                taught = [math.exp(float(said[one]["taught"][i, k]) / 0.05) for k in range(7)]
                mine = [math.exp(float(said[other]["assigned"][i, k]) / 0.2) for k in range(7)]
                expected -= sum(t / sum(taught) * math.log(m / sum(mine)) for t, m in zip(taught, mine, strict=True)) / 2

    def run(part: Batch) -> Any:
        return call(model, part)

    loss = SelfDistillation(temperature=0.2, teacher_temperature=0.05).loss(model, run, batch, Phase("main"))
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-5) and loss.count == 5
    loss.total.backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {"trunk.head.weight", "trunk.head.bias", *(f"teacher.{name}" for name, _ in model.teacher.named_parameters())}


def test_teacher_and_center_follow() -> None:
    model = self_taught(momentum=0.75, centering=0.5).train()
    model.center.copy_(torch.linspace(-0.2, 0.2, 7))
    before, parts = copy.deepcopy(model), torch.rand(6, 1, 8, 8).split(4)                 # in micro-batches of unlike size
    said = torch.cat([model(image=part)["taught"] for part in parts]) + before.center
    after = {name: value.clone() for name, value in model.trunk.state_dict().items()}        # running statistics have moved
    model.follow()
    torch.testing.assert_close(model.center, 0.5 * before.center + 0.5 * said.mean(0))
    old = dict(before.teacher.trunk.named_parameters())
    for name, value in model.teacher.trunk.state_dict().items():
        torch.testing.assert_close(value, 0.75 * old[name] + 0.25 * after[name] if name in old else after[name])         # norms' statistics are the model's
    center = model.center.clone()
    model.follow()                                                                        # nothing was said since
    assert torch.equal(model.center, center)
    model.eval()(image=parts[0])["taught"]
    assert not model.count                                                                # and what is said while it is used does not count


def recipe(trunk: dict[str, Any] | None = None) -> dict[str, Any]:
    learned = merge(tiny.images(), {"objective": AIM, "evaluate": [], "train": {"steps": 6}})
    return {**learned, "model": {"kind": "self_taught", "trunk": trunk or learned["model"], "hidden": 8, "width": 6, "prototypes": 16, "momentum": 0.9}}


@pytest.mark.parametrize("check", ["resumed = uninterrupted", "accumulation = big batch", "two processes = one", "saved = loaded"])
def test_teacher_and_center_are_part_of_what_is_certified(check: str) -> None:
    trunk = {"kind": "vit", "stem": {"kind": "patches", "size": 4}, "dim": 8, "depth": 1, "mixer": {"kind": "attention", "heads": 2}}
    for certificate in certify.examine(check, equivalences.CHECKS[check], Bench.of(load(recipe(trunk)))):
        assert certificate.verdict == "passed" and certificate.difference <= 1e-5, str(certificate)              # type: ignore[operator]


def test_what_starts_from_it_is_its_trunk(tmp_path: Path) -> None:
    ftheta.run(recipe(), out=tmp_path / "before")
    whole = read(tmp_path / "before" / "model" / "model.safetensors")
    moved = [name for name in whole if name.startswith("trunk.") and whole[name].is_floating_point() and not torch.equal(whole[name], whole[f"teacher.{name}"])]
    assert len(moved) > 5 and float(whole["center"].abs().max()) > 0
    ftheta.run(merge(tiny.images(), {"train": {"steps": 1, "optimizer": {"kind": "adamw", "rate": 1e-9}}, "start": str(tmp_path / "before")}), out=tmp_path / "after")
    after = read(tmp_path / "after" / "model" / "model.safetensors")
    taken = {name: value for name, value in after.items() if value.is_floating_point() and "running" not in name}
    assert len(taken) > 5 and all(torch.allclose(value, whole[f"trunk.{name}"], rtol=0, atol=1e-6) for name, value in taken.items())


@pytest.mark.parametrize(("fields", "said"), [
    ({"teacher_temperature": 0.2}, "below temperature"), ({"views": [{"kind": "mixup"}]}, "mixes pictures"), ({"temperature": 0}, "temperature"),
])
def test_what_cannot_be_learned_so_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SelfDistillation.parse({"kind": "self_distillation", **fields})
