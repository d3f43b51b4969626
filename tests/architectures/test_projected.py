"""A network on a trunk's features that is compared while it learns from views, and left out by what starts from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny

import ftheta
from ftheta.architectures.architecture import call
from ftheta.architectures.projected import Projected, ProjectedConfig
from ftheta.core.config import merge
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError
from ftheta.core.tensors import read
from ftheta.evaluation.probes.small import scatter
from ftheta.objectives.contrastive import Contrastive
from ftheta.objectives.objective import Phase

TRUNK = {"kind": "resnet", "channels": 1, "classes": 3, "depths": [1, 1], "widths": [8, 16], "stem": "small"}
VIEWS = {"kind": "contrastive", "form": "views", "views": [{"kind": "affine", "shift": 1}]}


def projected(**fields: Any) -> Projected:
    return scatter(ProjectedConfig.parse({"kind": "projected", "trunk": TRUNK, **fields}).build(), 0).eval()               # type: ignore[return-value]


@pytest.mark.parametrize(("fields", "shapes"), [({}, [(16, 16), (128, 16)]), ({"hidden": 12, "width": 5}, [(12, 16), (5, 12)])])
def test_it_is_the_trunk_and_two_layers_on_its_features(fields: dict[str, Any], shapes: list[tuple[int, int]]) -> None:
    model, image = projected(**fields), torch.rand(4, 1, 8, 8)
    found, alone = model(image=image), model.trunk(image=image)
    assert [tuple(part.weight.shape) for part in (model.first, model.second)] == shapes
    hidden = (alone["features"] @ model.first.weight.T + model.first.bias).clamp(min=0)
    torch.testing.assert_close(found["embedding"], hidden @ model.second.weight.T + model.second.bias)
    assert torch.equal(found["logits"], alone["logits"]) and torch.equal(found["features"], alone["features"])


def test_views_are_compared_by_what_stands_on_the_features() -> None:
    """Each view finds the other of its picture among all others, by the cosine of embeddings, not of features; and the trunk learns through it."""
    model, draws = projected(width=6), torch.Generator().manual_seed(0)
    batch = {name: torch.rand(5, 1, 8, 8, generator=draws) for name in ("image", "other")}
    every = torch.cat([model(image=batch[name])["embedding"] for name in ("image", "other")]).double().detach()
    total = 0.0
    for i in range(10):
        cosines = {j: float(every[i] @ every[j] / every[i].norm() / every[j].norm()) / 0.2 for j in range(10) if j != i}
        total -= (cosines[(i + 5) % 10] - float(torch.tensor(list(cosines.values())).exp().sum().log())) / 10

    def run(part: Batch) -> Any:
        return call(model, part)

    found = Contrastive(form="views", temperature=0.2).loss(model, run, batch, Phase("main"))
    assert float(found.total.detach()) == pytest.approx(total, rel=1e-4)
    found.total.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == ["trunk.head.weight", "trunk.head.bias"]


def test_what_starts_from_it_is_the_trunk_alone(tmp_path: Path) -> None:
    learned = merge(tiny.images(), {"objective": VIEWS, "evaluate": [], "train": {"steps": 3, "micro_batch": None}})
    learned["model"] = {"kind": "projected", "trunk": learned["model"], "width": 6}
    ftheta.run(learned, out=tmp_path / "views")
    start = str(tmp_path / "views")
    still = {"train": {"steps": 1, "optimizer": {"kind": "adamw", "rate": 1e-9}}, "start": start}
    ftheta.run(merge(tiny.images(), still), out=tmp_path / "after")
    before, after = (read(tmp_path / name / "model" / "model.safetensors") for name in ("views", "after"))
    assert "second.weight" in before and not [name for name in after if name.startswith(("first", "second", "trunk."))]
    taken = {name: value for name, value in after.items() if value.is_floating_point() and "running" not in name}
    assert len(taken) > 5 and all(torch.allclose(value, before[f"trunk.{name}"], rtol=0, atol=1e-6) for name, value in taken.items())
    with pytest.raises(ConfigError, match="do not fit"):
        ftheta.run(merge(tiny.images(), {**still, "model": {"widths": [6]}}), out=tmp_path / "wrong")
