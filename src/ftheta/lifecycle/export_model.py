"""`export`: a model as other programs open it, compared with the model before it is called done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ftheta.core.errors import FthetaError
from ftheta.core.log import logger
from ftheta.data.processors.text import TextProcessor
from ftheta.evaluation.metrics.language import windows
from ftheta.evaluation.statistics import ratio
from ftheta.export import FORMATS
from ftheta.export.exporting import Exported, export_to
from ftheta.export.format import Consumer, Ours
from ftheta.export.probes import Probe, Text, writes
from ftheta.export.quality import BitsPerByte
from ftheta.lifecycle.build import build_data
from ftheta.lifecycle.recipe import Recipe
from ftheta.models.folder import load
from ftheta.models.model import Model

DOCUMENTS = 64
CHARACTERS = 4096
"""Of each document at most, from its beginning."""
TOGETHER = 16
"""Windows of text looked at in one batch."""


def export_model(
    model: str | Path, to: str, *, out: str | Path | None = None, precision: str | None = None, adapter: str | Path | None = None, accept: str | None = None,
) -> Exported:
    """Export a model folder to a format (`ftheta list "export formats"`), into the new folder `out` (exports/NAME/FORMAT), weights kept in `precision`,
    with an adapter of a PEFT folder merged; `accept` as in `load`.

    Raises UsageError when the format cannot say this model, ParityError when the export does not answer as the model does; nothing is left then.
    """
    form = FORMATS.load(to)(precision)
    opened = load(model, accept=accept)
    if adapter is not None:
        opened.attach(adapter, "adapter").use("adapter")
    place = Path("exports") / name_of(model) / (to if len(form.precisions) == 1 else f"{to}-{form.precision}") if out is None else Path(out)
    return export_to(opened, form, to, place, lambda consumer, probes: bits_per_byte(opened, consumer, probes))


def name_of(model: str | Path) -> str:
    """What a model is called: its folder's name, that of the run where the folder is a run's model."""
    path = Path(str(model).partition("@")[0])
    return path.resolve().parent.name if path.name == "model" else path.stem if path.is_file() else path.name


@torch.no_grad()
def bits_per_byte(model: Model, consumer: Consumer, probes: Sequence[Probe]) -> BitsPerByte | None:
    """Of held-out documents, of the probes' texts where there are none; None for a model that does not go on from text."""
    ports, processor = model.architecture.config.ports(), model.processor
    if not (writes(ports) and "source" not in ports.takes and isinstance(processor, TextProcessor)):
        return None
    documents = [text[:CHARACTERS] for text in held_out(model)[:DOCUMENTS] if text]
    texts = documents or [probe.text for probe in probes if isinstance(probe, Text)]
    room = model.architecture.room or CHARACTERS
    before, after = (text_bits(each, processor, texts, room) for each in (Ours(model), consumer))
    sizes = np.array([len(text.encode()) for text in texts], dtype=float)
    difference = ratio(after - before, sizes, 0)
    start = float(before.sum() / sizes.sum())
    low, high = (None if math.isnan(end) else end for end in (difference.low, difference.high))
    return BitsPerByte(start, start + difference.value, low, high, len(texts), "held-out documents" if documents else "probes")


def text_bits(consumer: Consumer, processor: TextProcessor, texts: Sequence[str], room: int) -> np.ndarray:
    """Σ -log₂ p(token | before) of every text and its end; windows of equal size are looked at together."""
    end, found = processor.id("eos"), np.zeros(len(texts))
    groups: dict[int, list[tuple[int, Sequence[int], int]]] = {}
    for number, text in enumerate(texts):
        ids = [*processor.encode(text), *([] if end is None else [end])]
        for window, fresh in windows(ids, room, max(1, room // 2)):
            groups.setdefault(len(window), []).append((number, window, fresh))
    for group in groups.values():
        for start in range(0, len(group), TOGETHER):
            part = group[start : start + TOGETHER]
            tokens = torch.tensor([window for _, window, _ in part])
            known = consumer.outputs({"tokens": tokens[:, :-1]})["logits"].double().log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
            for row, (number, _, fresh) in enumerate(part):
                found[number] -= float(known[row, -fresh:].sum()) / math.log(2)
    return found


def held_out(model: Model) -> Sequence[str]:
    """The test documents of the recipe that made the model; none where there are none, or where its data are not here."""
    recipe = model.provenance.get("recipe")
    if recipe is None:
        return []
    try:
        return build_data(Recipe.parse(recipe)).texts.get("test", [])
    except (FthetaError, OSError) as error:
        logger.info("the held-out text of the model's recipe cannot be read (%s): what fewer bits cost is measured on the probes", error)
        return []
