"""An export from start to end: written beside its place, opened by its consumer, compared, and only then put there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftheta.core.atomic import commit
from ftheta.core.errors import UsageError
from ftheta.export.format import Consumer, Format
from ftheta.export.parity import Parity, ParityError, compare
from ftheta.export.probes import Probe, probes_for
from ftheta.export.quality import BitsPerByte, Quality, moved
from ftheta.models.model import Model

REPORT = "parity.json"
Bits = Callable[[Consumer, Sequence[Probe]], BitsPerByte | None]


@dataclass(frozen=True)
class Exported:
    """An export that answers as the model does."""

    folder: Path
    parity: Parity
    quality: Quality | None
    """What fewer bits cost; None for weights kept whole."""
    size: int
    """Bytes of all files."""

    def facts(self) -> dict[str, Any]:
        return {"parity": self.parity.facts(), "quality": None if self.quality is None else self.quality.facts()}

    def summary(self) -> str:
        """What was done and how it compares, in words."""
        lines = [f"{self.folder}: {self.size:,} bytes", str(self.parity)]
        if self.quality is not None:
            lines.append(f"what the precision costs: outputs move by {self.quality.away:.2%}")
            lines += [] if self.quality.bits is None else [str(self.quality.bits)]
        return "\n".join(lines)


def export_to(model: Model, form: Format, name: str, out: Path, bits: Bits = lambda consumer, probes: None) -> Exported:
    """Write `model` in a format to the new folder `out`; `bits` measures what fewer bits cost in bits per byte.

    Raises UsageError when the format cannot say this model, ParityError when the export does not answer as the model does; nothing is left then.
    """
    if out.exists():
        raise UsageError(f"{out} is there already: choose another --out")
    if virtual := [adapter for adapter in model.adapters.used if model.adapters.known[adapter].kind != "LORA"]:
        raise UsageError(f"{virtual[0]}: learned tokens cannot be merged into the weights: export the model without this adapter")
    if reasons := form.reasons(model):
        raise UsageError(f"this model cannot be exported to {name}: {'; '.join(reasons)}")
    probes = probes_for(model)
    with commit(out) as attempt:
        form.write(model, attempt)
        attempt.seal()
        consumer = form.open(attempt.path)
        try:
            parity = compare(model, form.expected(model), consumer, probes)
            quality = None if form.precision == "f32" else Quality(moved(model, consumer, probes), bits(consumer, probes))
            if quality is not None and quality.away > (bound := form.bounds[form.precision]):
                raise ParityError(f"its outputs are {quality.away:.1%} away from the model's; {bound:.0%} is what {form.precision} may cost")
        except ParityError as error:
            raise ParityError(f"the export to {name} does not answer as the model does, and was not kept. {error}") from error
        exported = Exported(out, parity, quality, sum(entry["bytes"] for entry in attempt.files.values()))
        attempt.write_json(REPORT, {"format": name, "precision": form.precision, **exported.facts()})
    return exported
