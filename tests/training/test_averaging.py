"""The average of parameters and of batch norm's running statistics, against sums written out and torch's own."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

import ftheta
import tiny
from ftheta.blocks.norm import BatchNorm2d
from ftheta.core.config import merge
from ftheta.data.corpus.executors import Local
from ftheta.lifecycle.build import build_data, build_source
from ftheta.lifecycle.recipe import load
from ftheta.training.averaging import MovingAverage
from ftheta.training.statistics import re_estimate


def test_parameters_and_statistics_are_averaged_alike() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), BatchNorm2d(3)).train()
    model.register_buffer("passing", torch.zeros(1), persistent=False)
    average, decay = MovingAverage(model, 0.5), 0.5
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    draw = torch.Generator().manual_seed(0)
    for step in range(1, 6):
        model(torch.rand(4, 1, 8, 8, generator=draw) * step)
        with torch.no_grad():
            model[0].weight += torch.randn(3, 1, 3, 3, generator=draw)                    # type: ignore[operator]
        average.update(step)
        kept = min(decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            expected[name] = kept * expected[name] + (1 - kept) * value if value.is_floating_point() else value.clone()
    live = {name: value.clone() for name, value in model.state_dict().items()}
    assert int(expected["1.num_batches_tracked"]) == 5 and not torch.allclose(expected["1.running_var"], live["1.running_var"])
    assert average.values.keys() == expected.keys()
    with average.in_place():
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, expected[name])
    for name, value in model.state_dict().items():
        assert torch.equal(value, live[name])


def test_statistics_are_worked_out_anew_as_torch_does() -> None:
    draw = torch.Generator().manual_seed(1)
    batches = [torch.rand(4, 1, 8, 8, generator=draw) * step for step in range(1, 6)]
    model = nn.Sequential(nn.Conv2d(1, 3, 3), BatchNorm2d(3), nn.Conv2d(3, 4, 3), BatchNorm2d(4, momentum=0.3), BatchNorm2d(4)).train()
    frozen = model[4]
    frozen.weight.requires_grad_(False)
    for batch in batches[::-1]:
        model(batch)
    frozen.running_mean.fill_(0.5)  # type: ignore[union-attr, operator]
    other = copy.deepcopy(model).train()
    assert re_estimate(model, [lambda batch=batch: model(batch) for batch in batches]) == 2
    kept = {name: value.clone() for name, value in other[4].state_dict().items()}
    torch.optim.swa_utils.update_bn(batches, other)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, kept[name[2:]] if name.startswith("4.") else other.state_dict()[name])
    assert [part.momentum for part in model if isinstance(part, BatchNorm2d)] == [0.1, 0.3, 0.1]


def test_a_run_ends_with_statistics_of_its_averaged_parameters(tmp_path: Path) -> None:
    """They are those that torch finds for the saved parameters, on the first batches of training."""
    recipe = merge(tiny.images(), {"train": {"steps": 8, "average": {"decay": 0.9}, "statistics": 3, "precision": "float32"}})
    ftheta.run(recipe, out=tmp_path / "run")
    model = ftheta.load(tmp_path / "run" / "model").architecture
    found = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    parsed = load(recipe)
    source = build_source(parsed, build_data(parsed, Local()))
    torch.optim.swa_utils.update_bn([source.batch(step, torch.arange(source.batch_size), None)["image"] for step in range(3)], Images(model))
    assert found
    for name, value in found.items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-4, atol=1e-5)


class Images(nn.Module):
    """Takes its picture by position."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(image=image)["logits"]
