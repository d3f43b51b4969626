"""Metrics of generated pictures, by a classifier that knows the real ones, and a grid to look at."""

from __future__ import annotations

import io
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ftheta.core.errors import UsageError
from ftheta.core.random import generator
from ftheta.data.source import Dataset
from ftheta.evaluation.generated import CLEAR, judge
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import proportion

ROWS = 10
"""Pictures of a class that are shown."""


class Generated(Metric):
    """Share of generated pictures that a classifier trained on real ones is sure of, whether all classes are there, how varied they are."""

    kind: Literal["generated"] = "generated"
    samples: int = Field(default=1000, gt=0)
    """Pictures to make, as many of each class."""

    def needs(self) -> dict[str, str]:
        return {"image": "image B C H W"}

    @torch.no_grad()
    def measure(self, subject: Subject) -> Result:
        real = everything(subject.splits["train"] if "train" in subject.splits else split_of(subject, "generated"))
        made, label, known = self.made(subject, self.samples)
        verdict = judge(made, real["image"], real["label"], subject.seed)
        clear = verdict["confidence"] >= CLEAR
        sure = proportion(int(clear.sum()), len(clear))
        as_asked = proportion(int((verdict["predicted"] == label).sum()), len(label))
        found = len(verdict["classes"])
        classes = proportion(found, known)
        measurements = [
            Measurement("share of clear pictures", sure.value, sure.low, sure.high, len(clear), "picture", "higher", sure.method, subject.seed,
                        {"value": clear.double().numpy()}, {"real pictures": verdict["reference_clear"]}),
            Measurement("share of the class asked for", as_asked.value, as_asked.low, as_asked.high, len(label), "picture", "higher", as_asked.method, subject.seed,
                        baselines={"real pictures": verdict["reference_accuracy"]}),
            Measurement("share of classes covered", classes.value, classes.low, classes.high, known, "label", "higher", classes.method, subject.seed),
        ]
        text = f"{found} of {known} classes found; variance within classes {verdict['variety']:.2f} of real pictures'."
        return Result(measurements, {"samples.png": picture_grid(made[: ROWS * known], known)}, {"What was generated": text})

    @torch.no_grad()
    def exhibit(self, subject: Subject) -> Result:
        classes = subject.model.architecture.config.ports().sizes.get("K", 1)
        made, _, classes = self.made(subject, min(self.samples, ROWS * classes))
        return Result(pictures={"samples.png": picture_grid(made, classes)})

    def made(self, subject: Subject, count: int) -> tuple[Tensor, Tensor, int]:
        """So many pictures (N, C, H, W), the class that was asked for each, and how many classes there are; fewer are the first of more."""
        sizes = subject.model.architecture.config.ports().sizes
        if "Z" not in sizes or "K" not in sizes:
            raise UsageError("generated needs a model that makes pictures of a class from noise")
        label = torch.arange(self.samples)[:count] % sizes["K"]
        noise = torch.randn(self.samples, sizes["Z"], generator=generator(subject.seed, "evaluate"))[:count]
        made = torch.cat([subject.model.architecture(noise=n, label=k)["image"].clamp(0, 1) for n, k in zip(noise.split(256), label.split(256), strict=True)])
        return made, label, sizes["K"]


def everything(dataset: Dataset) -> dict[str, Tensor]:
    return dataset.batch(torch.arange(len(dataset)))


def picture_grid(images: Tensor, columns: int) -> bytes:
    """Pictures (N, C, H, W) side by side, as PNG, enlarged so that small ones can be seen."""
    from matplotlib import image as writer

    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = torch.zeros(rows * (height + 1) + 1, columns * (width + 1) + 1, channels)
    for i, picture in enumerate(images):
        top, left = i // columns * (height + 1) + 1, i % columns * (width + 1) + 1
        sheet[top : top + height, left : left + width] = picture.permute(1, 2, 0)
    zoom = max(1, 480 // sheet.shape[1])
    sheet = sheet.repeat_interleave(zoom, 0).repeat_interleave(zoom, 1)
    sink = io.BytesIO()
    writer.imsave(sink, sheet.expand(-1, -1, 3).numpy() if channels == 1 else sheet.numpy(), format="png")
    return sink.getvalue()
