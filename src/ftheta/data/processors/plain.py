"""Numbers in, numbers out: for models whose inputs are tensors already (graphs, observations, noise), with label names if any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ftheta.data.processors.processor import Processor


class PlainProcessor(Processor):
    """Names of classes and nothing else."""

    kind = "plain"

    def __init__(self, labels: Sequence[str] = ()):
        self.labels = list(labels)

    def label(self, index: int) -> str:
        return self.labels[index] if index < len(self.labels) else str(index)

    def dump(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": self.labels}

    @classmethod
    def load(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        return cls(facts.get("labels", ()))
