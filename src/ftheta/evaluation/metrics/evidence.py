"""Where in a picture a classifier found its answer.

    convolutions   Grad-CAM: relu(Σ_c α_c A_c) of the last map A, α_c the mean over the map of ∂z / ∂A_c       Selvaraju et al. 2016, arXiv:1610.02391
    transformers   attention rollout: Π_l (A_l + I) / 2, A_l the mean attention of layer l's heads              Abnar & Zuidema 2020, arXiv:2005.00928

z is the logit of the class answered. A rollout shows what the answer may have looked at, whichever class it names. Both are pictures to look at,
not measurements.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.image_trunk import MapTrunk
from ftheta.architectures.vit import ViT
from ftheta.blocks.attention import MultiHead
from ftheta.blocks.context import Context
from ftheta.core.contract import Ports
from ftheta.core.errors import UsageError
from ftheta.core.random import generator
from ftheta.evaluation.bars import plain
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Metric, Result, Subject


class Evidence(Metric):
    """A few test pictures with what the model's answer rests on: Grad-CAM of convolutional networks, attention rollout of vision transformers."""

    kind: Literal["evidence"] = "evidence"
    pictures: int = Field(default=8, gt=0, le=32)
    """How many, drawn at random."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B K"}

    def reads(self) -> dict[str, str]:
        return {"image": "image B C H W", "label": "label B"}

    def misfits(self, data: Ports, model: ArchitectureConfig) -> list[str]:
        found = super().misfits(data, model)
        with torch.device("meta"):
            known = found or isinstance(model.build(), MapTrunk | ViT)
        return found if known else [f"evaluate: 'evidence' looks into resnet, convnet and vit, not '{model.name}': leave it out"]

    def measure(self, subject: Subject) -> Result:
        dataset, model = split_of(subject, "evidence"), subject.model.architecture.eval()
        rows = torch.randperm(len(dataset), generator=generator(subject.seed, "evidence"))[: self.pictures]
        raw = dataset.raw(rows)
        batch = dataset.finish(raw)
        if isinstance(model, MapTrunk):
            heat, answers = grad_cam(model, batch["image"])
        elif isinstance(model, ViT):
            heat, answers = rollout(model, batch["image"])
        else:
            raise UsageError("evidence looks into resnet, convnet and vit")
        named = subject.model.processor.label
        titles = [named(int(k)) + ("" if k == label else f"\nis {named(int(label))}") for k, label in zip(answers, batch["label"], strict=True)]
        return Result(pictures={"evidence.png": drawn(raw["image"], heat, titles)})


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
    kept: list[Tensor] = []
    grids: list[tuple[int, int]] = []

    def look(mixer: nn.Module, given: tuple[Any, ...]) -> None:
        x, context = given
        assert isinstance(mixer, MultiHead) and isinstance(context, Context) and context.grid is not None
        kept.append(mixer.weights(x, context).float().mean(1))
        grids.append(context.grid)

    hooks = [mixer.register_forward_pre_hook(look) for mixer in model.mixers()]
    try:
        answers = model(image=image)["logits"].argmax(-1)
    finally:
        for hook in hooks:
            hook.remove()
    reached = torch.eye(kept[0].shape[-1]).expand_as(kept[0])
    for weights in kept:
        reached = (weights @ reached + reached) / 2
    first = model.config.first
    asked = reached[:, 0] if model.config.pooling == "first" else reached[:, first:].mean(1)
    return asked[:, first:].unflatten(1, grids[0]), answers


def drawn(images: Tensor, heat: Tensor, titles: Sequence[str]) -> bytes:
    """Pictures (N, C, H, W) in [0, 1] above the same with their heat (N, h, w), each stretched to its own range; PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.3 * len(images), 3.0))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(images), squeeze=False)
    spread = F.interpolate(heat[:, None], images.shape[2:], mode="bilinear")[:, 0]
    for column, (image, warm, title) in enumerate(zip(images, spread, titles, strict=True)):
        shown = (image.mean(0, keepdim=True) if image.shape[0] not in (1, 3) else image).permute(1, 2, 0).squeeze(-1).numpy()
        for row in (0, 1):
            axes[row][column].imshow(shown, cmap="gray", vmin=0, vmax=1)
            axes[row][column].axis("off")
        axes[1][column].imshow(warm.numpy(), cmap="inferno", alpha=0.6)
        axes[0][column].set_title("\n".join(map(plain, title.split("\n"))), fontsize=7)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110, bbox_inches="tight")
    return sink.getvalue()
