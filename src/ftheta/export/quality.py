"""What an export of fewer bits costs: how far its outputs are from the model's, and bits per byte of text before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ftheta.export.format import Consumer, Ours
from ftheta.export.probes import Probe, inputs_of
from ftheta.models.model import Model


@dataclass(frozen=True)
class BitsPerByte:
    """Σ -log₂ p(token | before) per byte of the same documents by the model and by its export."""

    before: float
    after: float
    low: float | None
    """The 95 % interval of after - before, over documents; none of a single document."""
    high: float | None
    documents: int
    text: str
    """What the documents are: held out when the model was trained, or the probes."""

    def __str__(self) -> str:
        known = "no interval" if self.low is None or self.high is None else f"{self.low:+.4f} to {self.high:+.4f}, 95 % interval"
        interval = f"{known}, {self.documents} {self.text}"
        return f"bits per byte {self.before:.4f} → {self.after:.4f} ({interval})"


@dataclass(frozen=True)
class Quality:
    """What was lost."""

    away: float
    """Root mean square of the outputs' differences, as a share of that of the outputs."""
    bits: BitsPerByte | None
    """None for what writes no text."""

    def facts(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def moved(model: Model, consumer: Consumer, probes: Sequence[Probe]) -> float:
    """`Quality.away`."""
    ports, ours = model.architecture.config.ports(), Ours(model)
    squares, total = 0.0, 0.0
    for probe in probes:
        row = {name: value for name, value in probe.read(model.processor, ports).items() if name in inputs_of(ports)}
        a, b = ours.outputs(row), consumer.outputs(row)
        for name in a.keys() & b.keys():
            seen = a[name].isfinite() & b[name].isfinite()
            squares += float((a[name] - b[name])[seen].double().square().sum())
            total += float(a[name][seen].double().square().sum())
    return math.sqrt(squares / total) if total else 0.0
