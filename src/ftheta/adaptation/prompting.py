"""Prompting: classes are told by what the model says of a text in a template; no parameter moves.

Which template is used, and which solved examples stand before the question, is decided by the mean cross-entropy of the right class on
validation rows, p(class) being the share of its words' likelihood (Brown et al. 2020, arXiv:2005.14165; Perez et al. 2021, arXiv:2105.11447).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch.nn import functional as F

from ftheta.adaptation.adaptation import Adaptation, freeze
from ftheta.architectures.architecture import Architecture, call
from ftheta.architectures.decoder import Decoder
from ftheta.architectures.prompted import Piece, Prompted, PromptedConfig
from ftheta.core.errors import ConfigError, Problem, suggest
from ftheta.core.random import generator
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Dataset

DEFAULT = {
    "en": (
        ("{text} It was {label}.", "{text} All in all, it was {label}.", "{text}\nThis is {label}.", "Text: {text}\nLabel: {label}"),
        ("{text} {second} {label}", "{text}? {label}, {second}", "First: {text}\nSecond: {second}\nLabel: {label}"),
    ),
    "zh": (
        ("{text} 总之，{label}。", "{text} 感觉{label}。", "{text} 这是{label}的。", "文本：{text}\n标签：{label}"),
        ("{text}{second}{label}", "{text}？{label}，{second}", "第一句：{text}\n第二句：{second}\n标签：{label}"),
    ),
}
"""Templates for texts and for pairs of texts, by language."""
PLACES = {"text": "text", "second": "second", "label": "answer"}
LEAST = 8
"""Tokens that must be left for a text."""
ROWS = 16
"""Examples looked at together."""


class Prompting(Adaptation):
    """The model is asked in words."""

    kind: Literal["prompting"] = "prompting"
    templates: tuple[str, ...] = ()
    """Texts with the places {text}, {label} and, for pairs, {second}; the best on validation rows is kept. None: those of `language`."""
    language: Literal["en", "zh"] = "en"
    """Language of the templates, where none are given."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Class → what the model is to call it; classes left out are called by their names."""
    shots: int = Field(default=0, ge=0)
    """How many solved examples of the training split stand before the question, classes in turn."""
    draws: int = Field(default=4, gt=0)
    """How many sets of solved examples are tried, where there are any."""
    rows: int = Field(default=256, gt=0)
    """At most this many validation rows are looked at."""

    @model_validator(mode="after")
    def has_places(self) -> Prompting:
        for i, template in enumerate(self.templates):
            if "{text}" not in template or template.count("{label}") != 1:
                raise ConfigError([Problem(("templates", i), f"{template!r} must hold {{text}}, and {{label}} once")])
        return self

    def apply(self, model: Architecture, seed: int) -> None:
        freeze(model.parameters())

    def words(self, classes: Sequence[str]) -> list[str]:
        """What each class is called. Raises ConfigError for labels that are no classes, or are called the same."""
        for name in self.labels:
            if name not in classes:
                raise ConfigError([Problem(("adapt", "labels", name), f"no class has this name{suggest(name, classes, 'classes')}")])
        found = [self.labels.get(name, name) for name in classes]
        if len(set(found)) < len(found):
            raise ConfigError([Problem(("adapt", "labels"), f"two classes are called the same: {', '.join(found)}")])
        return found


class Candidate(NamedTuple):
    """A way to ask that is tried."""

    template: str
    draw: int
    shots: list[int]
    """Rows of the training split."""
    model: Prompted


class Chosen(NamedTuple):
    """The best way to ask, and what was found on the way."""

    model: Prompted
    facts: dict[str, Any]
    looked: int
    """Examples the model was asked about."""


def choose(adapt: Prompting, start: Architecture, processor: TextProcessor, splits: Mapping[str, Dataset], seed: int) -> Chosen:
    """Try every template and set of shots on validation rows. Raises ConfigError for a start, templates or labels that do not fit."""
    if not isinstance(start, Decoder) or start.head is None:
        raise ConfigError([Problem(("adapt",), f"prompting asks a language model, and the start is a '{start.config.name}'")])
    tried: list[dict[str, Any]] = []
    candidates = list(ways(adapt, start, processor, splits["train"], seed))
    validation = splits.get("validation")
    if validation is None and len(candidates) > 1:
        raise ConfigError([Problem(("data", "source", "validation"), "the template is chosen on validation rows: leave some, or give one template")])
    rows = torch.empty(0, dtype=torch.int64)
    if validation is not None:
        rows = torch.randperm(len(validation), generator=generator(seed, "prompting rows"))[: adapt.rows]
    best, least = candidates[0], math.inf
    for candidate in candidates:
        loss, right = measured(candidate.model, validation, rows) if validation is not None else (0.0, 0)
        tried.append({"template": candidate.template, "draw": candidate.draw, "loss": loss, "accuracy": right / max(1, len(rows))})
        if loss < least:
            best, least = candidate, loss
    words = adapt.words(processor.labels)
    facts = {
        "template": best.template, "words": dict(zip(processor.labels, words, strict=True)), "validation_loss": least, "tried": tried,
        "shots": [processor.decode(ids) for ids in (splits["train"].batch(torch.tensor([row]))["tokens"][0].tolist() for row in best.shots)],
    }
    return Chosen(best.model, facts, len(rows) * len(candidates))


@torch.no_grad()
def measured(model: Prompted, dataset: Dataset, rows: torch.Tensor) -> tuple[float, int]:
    """Mean cross-entropy of the right class, and how often it was the likeliest."""
    model.eval()
    total, right = 0.0, 0
    for part in rows.split(ROWS):
        batch = dataset.batch(part)
        logits = call(model, batch)["logits"]
        total += float(F.cross_entropy(logits, batch["label"], reduction="sum"))
        right += int((logits.argmax(-1) == batch["label"]).sum())
    return total / len(rows), right


def ways(adapt: Prompting, start: Decoder, processor: TextProcessor, train: Dataset, seed: int) -> list[Candidate]:
    """Every template with every set of shots that leaves room for a text."""
    example = train.batch(torch.arange(1))
    pairs = bool((example["segments"] == 1).any())
    templates = adapt.templates or DEFAULT[adapt.language][pairs]
    found, control = [], tuple(sorted({i for i in map(processor.id, processor.roles) if i is not None and i != processor.id("unk")}))
    for i, template in enumerate(templates):
        if unknown := [place for place in re.findall(r"\{(\w+)\}", template) if place not in PLACES]:
            raise ConfigError([Problem(("adapt", "templates", i), f"{{{unknown[0]}}} is no place; places: {', '.join(f'{{{place}}}' for place in PLACES)}")])
        for draw in range(adapt.draws if adapt.shots else 1):
            shots = drawn(train, adapt.shots, seed, draw)
            config = asked(adapt, start, processor, template, train, shots, control)
            with torch.device("meta"):
                made = Prompted(config)
            made.trunk = start
            fixed = sum(len(piece) for piece in config.template if not isinstance(piece, str)) + max(map(len, config.words))
            if (start.room or 0) - fixed >= LEAST:
                found.append(Candidate(template, draw, shots, made))
    if not found:
        raise ConfigError([Problem(("adapt", "shots"), f"the template and {adapt.shots} solved examples leave no room for a text in the {start.room} tokens the model looks at")])
    return found


def drawn(train: Dataset, shots: int, seed: int, draw: int) -> list[int]:
    """Rows of the training split, classes in turn."""
    if not shots:
        return []
    label = train.batch(torch.arange(len(train)))["label"]
    order = torch.randperm(len(train), generator=generator(seed, "shots", draw)).tolist()
    by_class = [[row for row in order if int(label[row]) == k] for k in label.unique().tolist()]
    turns = [row for turn in range(max(map(len, by_class))) for rows in by_class for row in rows[turn : turn + 1]]
    return turns[:shots]


def asked(
    adapt: Prompting, start: Decoder, processor: TextProcessor, template: str, train: Dataset, shots: Sequence[int], control: tuple[int, ...],
) -> PromptedConfig:
    """The template, its shots and the words of the classes as token ids."""
    parts = re.split(r"(\{\w+\})", template)
    before = parts[parts.index("{label}") - 1]
    space = before[len(before.rstrip(" ")) :]                                             # a space belongs to the word that follows it
    words = [processor.encode(space + word, start=False) for word in adapt.words(processor.labels)]
    pieces: list[Piece] = []
    for i, part in enumerate(parts):
        if part[:1] == "{":
            pieces.append(PLACES[part[1:-1]])                                             # type: ignore[arg-type]
            continue
        text = part.rstrip(" ") if parts[i + 1 : i + 2] == ["{label}"] else part
        if ids := processor.encode(text, start=False):
            pieces.append(tuple(ids))
    opening, closing = processor.borders
    solved: list[Piece] = [(opening,)]
    for row in shots:
        batch = train.batch(torch.tensor([row]))
        texts: dict[str, list[int]] = {"text": [], "second": [], "answer": words[int(batch["label"][0])]}
        for token, segment in zip(batch["tokens"][0].tolist(), batch["segments"][0].tolist(), strict=True):
            if token not in control:
                texts["second" if segment else "text"].append(token)
        ids = [token for piece in pieces for token in (texts[piece] if isinstance(piece, str) else piece)]
        solved.append((*ids, *processor.encode("\n", start=False)))
    fills = "bidirectional" in start.config.ports().traits
    whole = [*solved, *pieces, *([(closing,)] if fills else [])]
    return PromptedConfig.parse({
        "kind": "prompted", "trunk": start.config.dump(), "template": whole, "words": words, "blank": processor.id("mask") if fills else None, "control": control,
    })
