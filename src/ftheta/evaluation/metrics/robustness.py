"""Accuracy on test pictures that were made worse, as cameras, post and storage do (after Hendrycks & Dietterich 2019, arXiv:1903.12261): with noise of a
standard deviation (of values in [0, 1]), blurred by a Gaussian (of pixels), stored as JPEG (of a quality), moved by pixels in one of four directions.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.architectures.architecture import call
from ftheta.core.errors import MissingExtraError, UsageError
from ftheta.core.random import generator
from ftheta.data.source import Dataset
from ftheta.evaluation.metrics.labels import split_of
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.statistics import proportion
from ftheta.models.model import Model

Worse = Callable[[Tensor, Tensor], Tensor]
"""Pictures (B, C, H, W) in [0, 1] and their numbers (B,) → the pictures made worse."""


class Robustness(Metric):
    """Accuracy on the test pictures with noise, blur, JPEG and shifts of these strengths, beside that on the pictures as they are."""

    kind: Literal["robustness"] = "robustness"
    noise: tuple[Annotated[float, Field(gt=0)], ...] = (0.05, 0.1, 0.2)
    """Standard deviations of noise; values are from 0 to 1."""
    blur: tuple[Annotated[float, Field(gt=0, le=20)], ...] = (0.5, 1.0)
    """Standard deviations of blur, in pixels."""
    jpeg: tuple[Annotated[int, Field(ge=1, le=95)], ...] = (50, 20)
    """Qualities of JPEG (needs pillow)."""
    shift: tuple[Annotated[int, Field(gt=0)], ...] = (1, 2)
    """Pixels by which pictures are moved left, right, up or down, which of them by chance; the edge is continued."""
    most: int = Field(default=2000, gt=0)
    """Of a larger split so many pictures, drawn at random."""
    batch: int = Field(default=256, gt=0)
    """Pictures looked at together; changes nothing but speed."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B K"}

    def reads(self) -> dict[str, str]:
        return {"image": "image B C H W", "label": "label B"}

    def ways(self, seed: int) -> dict[str, Worse]:
        """Every way of this metric, by its name."""
        found: dict[str, Worse] = {f"noise {strength:g}": noisy(strength, seed) for strength in self.noise}
        found |= {f"blur {strength:g}": lambda image, rows, strength=strength: blurred(image, strength) for strength in self.blur}
        found |= {f"JPEG {quality}": lambda image, rows, quality=quality: stored(image, quality) for quality in self.jpeg}
        return found | {f"shift {pixels}": moved(pixels, seed) for pixels in self.shift}

    def measure(self, subject: Subject) -> Result:
        dataset = split_of(subject, "robustness")
        rows = torch.randperm(len(dataset), generator=generator(subject.seed, "robustness"))[: self.most].sort().values
        whole = proportion(self.right(subject.model, dataset, rows, None), len(rows))
        measurements = []
        for name, worse in self.ways(subject.seed).items():
            found = proportion(self.right(subject.model, dataset, rows, worse), len(rows))
            measurements.append(Measurement(
                f"accuracy with {name}", found.value, found.low, found.high, len(rows), "example", "higher", found.method, subject.seed,
                baselines={"as they are": whole.value},
            ))
        return Result(measurements)

    @torch.no_grad()
    def right(self, model: Model, dataset: Dataset, rows: Tensor, worse: Worse | None) -> int:
        """How many of these pictures are named rightly."""
        model.architecture.eval()
        hits = 0
        for part in rows.split(self.batch):
            raw = dataset.raw(part)
            batch = dataset.finish(raw if worse is None else {**raw, "image": worse(raw["image"], part)})
            hits += int((call(model.architecture, batch)["logits"].argmax(-1) == batch["label"]).sum())
        return hits


def noisy(strength: float, seed: int) -> Worse:
    """Adds noise of its own to every picture."""

    def worse(image: Tensor, rows: Tensor) -> Tensor:
        noise = torch.stack([torch.randn(image.shape[1:], generator=generator(seed, "noise", int(row))) for row in rows])
        return (image + strength * noise).clamp(0, 1)

    return worse


def blurred(image: Tensor, strength: float) -> Tensor:
    """A Gaussian of this standard deviation, cut at three of them; the edge is continued."""
    reach = math.ceil(3 * strength)
    weight = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * strength**2))
    kernel = (weight / weight.sum()).expand(image.shape[1], 1, 1, -1)
    across = F.conv2d(F.pad(image, (reach, reach, 0, 0), mode="replicate"), kernel, groups=image.shape[1])
    return F.conv2d(F.pad(across, (0, 0, reach, reach), mode="replicate"), kernel.transpose(2, 3), groups=image.shape[1])


def stored(image: Tensor, quality: int) -> Tensor:
    """Through JPEG and back. Raises UsageError for pictures that are neither grey nor in colour, MissingExtraError."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("pillow", "vision", "JPEG in the metric 'robustness'") from None
    if image.shape[1] not in (1, 3):
        raise UsageError(f"robustness: JPEG holds pictures of 1 or 3 channels, these have {image.shape[1]}: leave jpeg empty ([])")
    back = []
    for picture in (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
        sink = io.BytesIO()
        Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(sink, format="JPEG", quality=quality)
        with Image.open(sink) as opened:
            back.append(np.array(opened).reshape(picture.shape))
    return torch.from_numpy(np.stack(back)).permute(0, 3, 1, 2).float() / 255


def moved(pixels: int, seed: int) -> Worse:
    """Moves every picture in a direction of its own."""

    def worse(image: Tensor, rows: Tensor) -> Tensor:
        height, width = image.shape[2:]
        direction = torch.tensor([int(torch.randint(4, (1,), generator=generator(seed, "direction", int(row)))) for row in rows])
        step = torch.tensor([[pixels, 0], [-pixels, 0], [0, pixels], [0, -pixels]])[direction]        # (B, 2): down, right
        down = (torch.arange(height) - step[:, :1]).clamp(0, height - 1)                  # (B, H)
        right = (torch.arange(width) - step[:, 1:]).clamp(0, width - 1)                   # (B, W)
        return image[torch.arange(len(image))[:, None, None], :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)

    return worse
