"""What an answer rests on: where in a picture, or on which tokens of a text.

    pictures, convolutions   Grad-CAM: relu(Σ_c α_c A_c) of the last map A, α_c the mean over the map of ∂z / ∂A_c       Selvaraju et al. 2016, arXiv:1610.02391
    pictures, transformers   attention rollout: Π_l (A_l + I) / 2, A_l the mean attention of layer l's heads              Abnar & Zuidema 2020, arXiv:2005.00928
    texts with attention     A_l,h = softmax(scale · q kᵀ + bias), layer by layer and head by head
    all texts                gradient × input: e_s · ∂z / ∂e_s, e_s what the first layer is given of token s          Shrikumar et al. 2016, arXiv:1605.01713

z is the logit of the class answered, or log p of a token. Where embedded tokens are normalised before the first layer, their length is of no
consequence and their own gradient × input is 0: therefore what the first layer is given. Attention shows what an answer may have looked at, whatever it
says. All are there to be looked at and are no measurements.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ftheta.architectures.decoder import Decoder
from ftheta.architectures.image_trunk import MapTrunk
from ftheta.architectures.vit import ViT
from ftheta.blocks.attention import Attention, MultiHead
from ftheta.blocks.context import Context


def grad_cam(model: MapTrunk, image: Tensor) -> tuple[Tensor, Tensor]:
    """(B, h, w) over the last map, and the classes answered (B,)."""
    with torch.no_grad():
        last = model.last(image)
    last.requires_grad_()
    with torch.enable_grad():
        logits = model.answer(last)["logits"]
        (slope,) = torch.autograd.grad(logits.max(-1).values.sum(), last)
    return (slope.mean((2, 3), keepdim=True) * last).sum(1).relu().detach(), logits.argmax(-1)


@torch.no_grad()
def rollout(model: ViT, image: Tensor) -> tuple[Tensor, Tensor]:
    """(B, rows, columns) over the patches: what reached the token, or the mean of the patches, that answers; and the classes answered (B,)."""
    grids: list[tuple[int, int]] = []

    def mean(mixer: MultiHead, x: Tensor, context: Context) -> Tensor:
        assert context.grid is not None
        grids.append(context.grid)
        return mixer.weights(x, context).float().mean(1)

    with looked_at(model.mixers(), mean) as kept:
        answers = model(image=image)["logits"].argmax(-1)
    reached = torch.eye(kept[0].shape[-1]).expand_as(kept[0])
    for weights in kept:
        reached = (weights @ reached + reached) / 2
    first = model.config.first
    asked = reached[:, 0] if model.config.pooling == "first" else reached[:, first:].mean(1)
    return asked[:, first:].unflatten(1, grids[0]), answers


def attending(model: Decoder) -> list[int]:
    """The layers that have attention."""
    return [i for i, mixer in enumerate(model.mixers()) if isinstance(mixer, Attention)]


@torch.no_grad()
def attention(model: Decoder, run: Callable[[], Any], at: int) -> Tensor:
    """How much token `at` of a row looks at each of its T tokens when `run` reads it: (layers that attend, H, T)."""
    chosen = [mixer for mixer in model.mixers() if isinstance(mixer, Attention)]
    with looked_at(chosen, lambda mixer, x, context: mixer.weights(x, context)[0, :, at].float()) as kept:
        run()
    return torch.stack(kept)


def gradient_times_input(model: Decoder, run: Callable[[], Tensor]) -> Tensor:
    """How much each of the T tokens of a row, as the first layer is given it, adds by its slope to the number that `run` gives of the row: (T,)."""
    entered: list[Tensor] = []

    def free(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        entered.append(given[0].detach().requires_grad_())
        return entered[0], *given[1:]

    hook = model.layers[0].register_forward_pre_hook(free)
    try:
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(run(), entered)
    finally:
        hook.remove()
    return (slope * entered[0]).detach().float().sum(-1)[0]


@contextlib.contextmanager
def looked_at(mixers: Iterable[nn.Module], see: Callable[[Any, Tensor, Context], Tensor]) -> Iterator[list[Tensor]]:
    """What `see` makes of every mixer and of what it is given, in the order in which they come."""
    kept: list[Tensor] = []

    def look(mixer: nn.Module, given: tuple[Any, ...]) -> None:
        x, context = given
        assert isinstance(mixer, MultiHead) and isinstance(context, Context)
        kept.append(see(mixer, x, context))

    hooks = [mixer.register_forward_pre_hook(look) for mixer in mixers]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()
