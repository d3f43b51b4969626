"""What a model that was adapted has forgotten: bits per byte of held-out text, before and after.

Of a model that writes on, Σ -log₂ p(token | before) / bytes. Of one that fills blanks, bits per hidden token times tokens per byte: not the
length of a code, but the same number before and after.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ftheta.architectures.architecture import Architecture, call
from ftheta.architectures.decoder import Decoder
from ftheta.architectures.headed import Headed
from ftheta.architectures.prompted import Prompted
from ftheta.core.errors import FthetaError, UsageError
from ftheta.core.random import Draws
from ftheta.data.processors.text import TextProcessor
from ftheta.evaluation.metrics.language import document_nats
from ftheta.evaluation.statistics import Interval, ratio
from ftheta.lifecycle.build import build_data
from ftheta.lifecycle.recipe import Recipe
from ftheta.models.folder import load as load_model
from ftheta.models.model import Model
from ftheta.objectives.masked import Masked

DOCUMENTS = 64
"""Held-out documents looked at."""
TOKENS = 2048
"""Of each, at most."""
BATCH = 16


class HeldOut(NamedTuple):
    """The start, and text it has not learned from."""

    start: Model
    texts: list[str]

    def bits_per_byte(self, model: Architecture, seed: int) -> Interval:
        """Of the language model inside a model that came of the start, with the start's head."""
        processor, language = self.start.processor, as_language_model(self.start.architecture, model)
        assert isinstance(processor, TextProcessor)
        ids = [[*processor.encode(text), *[i for i in [processor.id("eos")] if i is not None]][:TOKENS] for text in self.texts]
        sizes = np.array([len(processor.decode(row).encode()) for row in ids], dtype=float)
        length = language.room
        assert length is not None
        if "bidirectional" in language.config.ports().traits:
            nats = blank_nats(language, processor, ids, length, seed)
        else:
            nats = document_nats(language, ids, length, max(1, length // 2), BATCH)
        return ratio(nats / math.log(2), sizes, seed)


def held_out(start: str, place: str | Path | None) -> HeldOut:
    """The start and the text of a file or of a folder's files, or of the test split of the recipe that made the start. Raises UsageError."""
    model = load_model(start)
    if not isinstance(model.processor, TextProcessor) or not isinstance(model.architecture, Decoder) or model.architecture.head is None:
        raise UsageError(f"{start} is no language model, so there is nothing it could say of text")
    if place is not None:
        path = Path(place)
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        try:
            texts = [file.read_text(encoding="utf-8") for file in files]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--held-out {place}: cannot be read as text: {error}") from None
    else:
        texts = own_test_split(model, start)
    texts = [text for text in texts if text.strip()][:DOCUMENTS]
    if not texts:
        raise UsageError(f"--held-out {place}: there is no text")
    return HeldOut(model, texts)


def own_test_split(model: Model, start: str) -> list[str]:
    """The documents kept for testing when the start was made. Raises UsageError."""
    made: Any = model.provenance.get("recipe")
    hint = "give text it has not seen with --held-out FILE"
    if made is None:
        raise UsageError(f"{start} does not say which data it was made from: {hint}")
    try:
        return list(build_data(Recipe.parse(made)).texts.get("test", []))
    except (FthetaError, OSError) as error:
        raise UsageError(f"the data that {start} was made from cannot be read ({error}): {hint}") from None


def as_language_model(start: Architecture, model: Architecture) -> Decoder:
    """The start with the parameters and the learned tokens of a model that came of it."""
    made = copy.deepcopy(start)
    reader = model.trunk if isinstance(model, Headed | Prompted) else model
    assert isinstance(made, Decoder) and isinstance(reader, Decoder)
    mine = made.theta()
    made.load_theta({name: value for name, value in reader.theta().items() if name in mine})
    made.virtual = copy.deepcopy(reader.virtual)
    return made.eval()


@torch.no_grad()
def blank_nats(model: Decoder, processor: TextProcessor, documents: Sequence[Sequence[int]], length: int, seed: int) -> np.ndarray:
    """Of every document, nats per hidden token times its tokens; the same tokens are hidden every time."""
    objective = Masked().with_tokens(processor)
    found = []
    for number, ids in enumerate(documents):
        total, count = 0.0, 0.0
        for start in range(0, len(ids), length):
            tokens = torch.tensor([list(ids[start : start + length])])
            batch = objective.prepare({"tokens": tokens, "documents": torch.zeros_like(tokens)}, Draws(torch.tensor([0]), 1, seed, "forgetting", number, start))
            loss = objective.loss(model, lambda part, **more: call(model, part, **more), batch, objective.phases()[0])
            total, count = total + float(loss.total), count + float(loss.count or 1)
        found.append(total / max(1.0, count) * len(ids))
    return np.array(found)
