"""Find things in a picture."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ftheta.core.config import Config
from ftheta.inference.detect import detections
from ftheta.models.tasks.images import OfPictures, Picture


class Detected(Config):
    """What is in a picture, surest first."""

    boxes: list[list[float]]
    """x₁ y₁ x₂ y₂ of each in pixels of the picture as it was given, from its left and top edge."""
    labels: list[str]
    """What each is."""
    scores: list[float]
    """How sure the model is of each, 0 to 1."""


class Searched(Picture):
    """A picture, and how sure the model is to be."""

    least: float = Field(default=0.3, ge=0, le=1)
    """The lowest score that is reported."""
    overlap: float = Field(default=0.6, ge=0, le=1)
    """The largest IoU of two boxes of one class: of two that have more in common only the surer one is reported."""


class ObjectDetection(OfPictures[Searched, Detected]):
    """Find things in a picture."""

    name = "object-detection"
    input = Searched
    output = Detected

    def run(self, inputs: Sequence[Searched]) -> list[Detected]:
        outputs, frames = self.look(inputs)
        answers = []
        for i, (asked, frame) in enumerate(zip(inputs, frames, strict=True)):
            (found,) = detections({name: outputs[name][i : i + 1] for name in ("boxes", "logits")}, asked.least, asked.overlap)
            names = [self.processor.label(label) for label in found.labels.tolist()]
            answers.append(Detected(boxes=frame.back(found.boxes).tolist(), labels=names, scores=found.scores.tolist()))
        return answers

    def show(self, output: Detected) -> str:
        """A line for each."""
        rows = zip(output.labels, output.scores, output.boxes, strict=True)
        return "\n".join(f"{label} {score:.2f}  {' '.join(f'{edge:.0f}' for edge in box)}" for label, score, box in rows) or "nothing found"
