"""The average of parameters and of batch norm's running statistics, against sums written out."""

from __future__ import annotations

import torch
from torch import nn

from ftheta.blocks.norm import BatchNorm2d
from ftheta.training.averaging import MovingAverage


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
