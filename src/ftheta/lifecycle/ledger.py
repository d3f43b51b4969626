"""What a run cost: parameters, FLOPs, time, share of the machine's matmul ceiling, and where each number comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ftheta.architectures.architecture import Architecture, Outputs, call
from ftheta.core.contract import Batch
from ftheta.core.device import matmul_rate
from ftheta.data.source import Source
from ftheta.objectives.objective import Objective
from ftheta.training.precision import TYPES


def parameter_counts(model: Architecture) -> dict[str, int]:
    """All parameters once, and those that training moves."""
    return {
        "parameters": sum(value.numel() for value in model.theta().values() if value.is_floating_point()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


@contextlib.contextmanager
def recurrent_flops(model: nn.Module, counted: list[float]) -> Iterator[None]:
    """Count recurrent layers, whose fused kernels the counter cannot look into: 2·gates·hidden·(input + hidden) a token, thrice in training."""
    handles = []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        assert isinstance(module, nn.RNNBase)
        tokens = inputs[0].numel() / inputs[0].shape[-1]
        gates = module.weight_ih_l0.shape[0]
        counted[0] += 2 * tokens * gates * (module.input_size + module.hidden_size) * 3

    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            handles.append(module.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def flops_per_step(model: Architecture, objective: Objective, source: Source) -> float:
    """Floating point operations of one training step, counted on a few real rows (products only, 2 per multiply-add), scaled to all."""
    rows = min(2, source.batch_size)
    batch = source.batch(0, torch.arange(rows), model)
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    other = [0.0]

    def run(part: Batch, **more: Tensor) -> Outputs:
        return call(model, part, **more)

    counter = FlopCounterMode(display=False)
    model.train()
    with counter, recurrent_flops(model, other):
        for phase in objective.phases():
            objective.loss(model, run, batch, phase).total.backward()
    model.zero_grad(set_to_none=True)
    return (counter.get_total_flops() + other[0]) * source.batch_size / rows


def ceiling(precision: str, device: torch.device) -> float:
    """FLOP/s of large products of this type on this machine, measured now."""
    return matmul_rate(TYPES[precision], device)
