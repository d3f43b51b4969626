"""Where in a picture a classifier found its answer (`inference.evidence`), drawn. Pictures to look at, not measurements."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.image_trunk import MapTrunk
from ftheta.architectures.vit import ViT
from ftheta.core.contract import Ports
from ftheta.core.errors import UsageError
from ftheta.core.random import generator
from ftheta.evaluation.bars import plain
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Metric, Result, Subject
from ftheta.inference.evidence import grad_cam, rollout


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

    def exhibit(self, subject: Subject) -> Result:
        return self.measure(subject)


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
