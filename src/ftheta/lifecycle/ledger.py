"""What a run cost: parameters, FLOPs, time, share of the machine's matmul ceiling, and where each number comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from ftheta.architectures.architecture import Architecture, Outputs, call
from ftheta.blocks.quantised import QuantisedLinear
from ftheta.core.contract import Batch
from ftheta.core.device import matmul_rate
from ftheta.data.source import Source
from ftheta.objectives.objective import Objective
from ftheta.training.precision import TYPES


def parameter_counts(model: Architecture) -> dict[str, int]:
    """All parameters once, and those that training moves."""
    few_bits = {name: part for name, part in model.named_modules() if isinstance(part, QuantisedLinear)}
    kept = {f"{name}.{buffer}" for name, part in few_bits.items() for buffer, _ in part.named_buffers()}
    plain = sum(value.numel() for name, value in model.theta().items() if value.is_floating_point() and name not in kept)
    return {
        "parameters": plain + sum(part.in_features * part.out_features for part in few_bits.values()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def recurrent_layer(inputs: Tensor, weight: Tensor, recurrent_weight: Tensor, *rest: Any, out_val: Any = None) -> int:
    """FLOPs of one direction of a recurrent layer: 2·gates·(input + hidden) a token."""
    return 2 * inputs.shape[0] * inputs.shape[1] * (weight.numel() + recurrent_weight.numel())


def recurrent_layer_backward(inputs: Tensor, weight: Tensor, recurrent_weight: Tensor, *rest: Any, out_val: Any = None) -> int:
    return 2 * recurrent_layer(inputs, weight, recurrent_weight)


def attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, attn_mask: Any = None, scale: Any = None, out_val: Any = None) -> int:
    """FLOPs of softmax(q kᵀ) v."""
    return 2 * query.shape[:-1].numel() * key.shape[-2] * (key.shape[-1] + value.shape[-1])


def attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *rest: Any, attn_mask: Any = None, scale: Any = None, out_val: Any = None) -> int:
    """Five products for the forward pass's two: the scores are made anew."""
    return 5 * attention(query, key, value) // 2


def product(left: Tensor, right: Tensor, out: Any = None, out_val: Any = None) -> int:
    """FLOPs of a matrix product, of which one side may be sparse."""
    if left.is_sparse or right.is_sparse:
        sparse, dense = (left, right) if left.is_sparse else (right, left)
        return 2 * sparse._nnz() * dense.numel() // (left.shape[1])
    return 2 * left.shape[0] * left.shape[1] * right.shape[1]


def sparse_product(added: Tensor, left: Tensor, right: Tensor, beta: Any = 1, alpha: Any = 1, out_val: Any = None) -> int:
    """FLOPs of added + left right, left being sparse."""
    return product(left, right)


def convolution_backward(
    grad: Tensor, inputs: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, output_padding: Any, groups: int,
    wanted: tuple[bool, bool, bool], out_val: Any = None,
) -> int:
    """As many as the forward pass for the gradient of the inputs, and for that of the weights; torch takes the latter's groups for one."""
    places = (inputs if transposed else grad).shape[2:].numel()
    return 2 * inputs.shape[0] * places * weight.numel() * (wanted[0] + wanted[1])


UNKNOWN_TO_TORCH = {
    torch.ops.aten.convolution_backward: convolution_backward,
    torch.ops.aten.mm: product, torch.ops.aten._sparse_addmm: sparse_product,
    torch.ops.aten.mkldnn_rnn_layer: recurrent_layer, torch.ops.aten.mkldnn_rnn_layer_backward: recurrent_layer_backward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
}
"""What torch's counter passes over, or takes for dense or for one group. GRU and, on a GPU, attention are made of operations it knows."""
for formula in UNKNOWN_TO_TORCH.values():
    formula._get_raw = True                                                               # type: ignore[attr-defined]  # tensors, not shapes
FORMULAS: dict[Any, Callable[..., int]] = {**flop_registry, **UNKNOWN_TO_TORCH}
"""Operation → its FLOPs, as a function of its arguments and `out_val`, its result."""


def flops_per_step(model: Architecture, objective: Objective, source: Source) -> float:
    """Floating point operations of one training step, counted on a few real rows (products only, 2 per multiply-add), scaled to all."""
    rows = min(2, source.batch_size)
    batch = source.batch(0, torch.arange(rows), model)
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}

    def run(part: Batch, **more: Tensor) -> Outputs:
        return call(model, part, **more)

    counter = FlopCounterMode(display=False, custom_mapping=UNKNOWN_TO_TORCH)
    model.train()
    with counter:
        for phase in objective.phases():
            objective.loss(model, run, batch, phase).total.backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops() * source.batch_size / rows


@torch.no_grad()
def flops_of_rows(model: Architecture, batch: Batch) -> float:
    """Floating point operations of looking at these rows, for each of them."""
    with FlopCounterMode(display=False, custom_mapping=UNKNOWN_TO_TORCH) as counter:
        call(model.eval(), batch)
    return counter.get_total_flops() / len(next(iter(batch.values())))


def ceiling(precision: str, device: torch.device) -> float:
    """FLOP/s of large products of this type on this machine, measured now."""
    return matmul_rate(TYPES[precision], device)
