"""`check`: do the parts of a recipe fit, and the matrix of everything in the catalogues against everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.blocks import READOUTS
from ftheta.core.catalog import Catalogue
from ftheta.core.config import Config, Slot, fill
from ftheta.core.contract import Needs, Ports
from ftheta.core.contract import check as check_ports
from ftheta.core.errors import ConfigError, FthetaError
from ftheta.data.sources.source_config import SourceConfig
from ftheta.data.text import TextSource
from ftheta.evaluation.probes.causality import Proof, prove
from ftheta.lifecycle.build import misfits
from ftheta.lifecycle.recipe import ALL_SOURCES, STAND_IN, DataConfig, extended, load, with_preset
from ftheta.objectives import OBJECTIVES, TAUGHT

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "chat": [{"path": "talks.jsonl"}], "preferences": [{"path": "pairs.jsonl"}], "prompts": [{"path": "questions.jsonl"}], "tagged_text": [{"path": "names.conll"}],
    "coco": [{"path": "boxes.json", "pictures": "pictures"}], "coco_masks": [{"path": "shapes.json", "pictures": "pictures"}],
    "image_folder": [{"path": "pictures"}], "image_shards": [{"path": "shards"}], "image_table": [{"path": "pictures.csv"}, {"path": "pictures.csv", "separator": ","}],
    "voc": [{"path": "VOC2012"}],
    "masks": [{"path": "slices", "classes": {"membrane": 0, "cell": 255}}],
    "csv": [{"path": "table.csv", "target": "kind"}, {"path": "table.csv", "target": "price", "predict": "number"}], "planetoid": [{"name": "cora"}],
    "judged": [{"path": "judged.jsonl"}], "mixture": [{"sources": {"library": {"source": {"kind": "text_files", "path": "python:stdlib"}}}}],
    "sklearn_table": [{"name": "digits"}, {"name": "diabetes"}], "text_files": [{"path": "python:stdlib"}],
    "text_table": [{"path": "reviews.csv"}, {"path": "pairs.csv", "second": "other", "predict": "number"}, {"path": "topics.csv", "separator": ","}],
    "choices": [{"path": "quiz.jsonl"}],
    "pairs": [{"path": "sts"}], "parallel": [{"path": "train.{}", "languages": ["en", "de"]}], "questions": [{"path": "questions.json"}],
}
"""What a source must be told before it can answer for its ports, in each way that changes them; nothing is read."""

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "headed": [
        *({"readout": name} for name in READOUTS.names()), {"readout": "embed", "trunk": {"kind": "encoder", "dropout": 0.1}},
        {"readout": "follows", "trunk": {"kind": "encoder", "segments": 2, "head": "linear"}}, {"readout": "values", "trunk": {"kind": "decoder", "head": "linear"}},
    ],
    "contrastive": [{"form": form} for form in ("in_batch", "simcse", "views", "cosent", "cosine")],
    "detector": [{}, {"head": "anchors"}, {"head": "regions"}, {"head": "queries", "neck": "projection", "depth": 2}],
    "distillation": [{"teacher": "teacher", "of": name} for name in TAUGHT.names()],
    "masked_autoencoder": [{"trunk": {"kind": "vit", "stem": {"kind": "patches", "size": 2}, "dim": 8, "depth": 1, "mixer": {"kind": "attention", "heads": 2}}, "depth": 1}],
    "vit": [{"stem": {"kind": "patches", "size": 2}}, {"stem": {"kind": "patches", "size": 2}, "pixels": True}],
}
"""Ways to choose the parts of an architecture that change what it gives, or of an objective what it needs; one way, its defaults, where it is not named."""


class Check(NamedTuple):
    """What `check` found."""

    reasons: list[str]
    """Why the recipe does not fit together; empty when it does."""
    proof: Proof | None
    """The probe of the model's traits, if asked for and if the model takes tokens."""


def check(recipe: str | Path | Mapping[str, Any], *, changes: Sequence[str] | Mapping[str, Any] = (), probe: bool = False) -> Check:
    """Whether a recipe fits together, before anything is read or run. Raises ConfigError when it cannot be parsed."""
    parsed = load(recipe, changes)
    config = parsed.architecture(parsed.data.ports().sizes, stand_in=True)
    proof = prove(config) if probe and config.ports().takes.get("tokens") == "ids B T" else None
    return Check(misfits(parsed), proof)


class Cell(NamedTuple):
    """One combination of the catalogues."""

    source: str
    architecture: str
    objective: str
    reasons: list[str]


def compatibility() -> list[Cell]:
    """Every source × architecture × objective with the reasons why it does not fit (none: it does, in one of the ways each can be chosen)."""
    cells = []
    wanted = {name: needs_of(name) for name in OBJECTIVES.names()}
    for source in ALL_SOURCES.names():
        examples = [ports_of(source, example) for example in EXAMPLES.get(source, [{}])]
        for architecture in ARCHITECTURES.names():
            models = [(data, ports) for data in examples for ports in ports_with(architecture, data)]
            for objective, ways in wanted.items():
                reasons = [check_ports(data, model, needs) for data, model in models for needs in ways]
                cells.append(Cell(source, architecture, objective, min(reasons, key=len)))
    return cells


class Alternatives(NamedTuple):
    """What could stand in a recipe's place of an architecture and of an objective: name → the reasons why it does not fit (none: it does)."""

    architectures: dict[str, list[str]]
    objectives: dict[str, list[str]]


def alternatives(recipe: Mapping[str, Any]) -> Alternatives:
    """What fits with the rest of a recipe that need not be whole: architectures with its data and objective, objectives with its data and architecture.

    An objective that is not said, or is wrong, is every objective; so is an architecture.
    """
    try:
        data = DataConfig.parse(extended(recipe, "recipe").get("data") or {}).ports()
    except FthetaError:
        return Alternatives({}, {})
    wanted = {name: needs_of(name) for name in OBJECTIVES.names()}
    models = {name: ports_with(name, data) for name in ARCHITECTURES.names()}
    learned, model = said(recipe.get("objective"), OBJECTIVES), said(with_presets(recipe.get("model")), ARCHITECTURES, data)
    own = [learned.needs()] if learned is not None else [needs for ways in wanted.values() for needs in ways]
    there = [model.ports()] if model is not None else [ports for ways in models.values() for ports in ways]
    return Alternatives(
        {name: min((check_ports(data, ports, needs) for ports in ways for needs in own), key=len) for name, ways in models.items()},
        {name: min((check_ports(data, ports, needs) for ports in there for needs in ways), key=len) for name, ways in wanted.items()},
    )


def needs_of(objective: str) -> list[Needs]:
    """What an objective needs, in each way it can be chosen."""
    return [OBJECTIVES.load(objective).parse({"kind": objective, **variant}).needs() for variant in VARIANTS.get(objective, [{}])]


def ports_with(architecture: str, data: Ports) -> list[Ports]:
    """What an architecture takes and gives with these data, in each way it can be chosen."""
    return [sized(ARCHITECTURES.load(architecture), variant, data).ports() for variant in VARIANTS.get(architecture, [{}])]


def said(fields: Any, catalogue: Catalogue, data: Ports | None = None) -> Any:
    """The part of a recipe that a name or a mapping says; None where it says none."""
    fields = {"kind": fields} if isinstance(fields, str) else fields
    if not isinstance(fields, Mapping) or fields.get("kind") not in catalogue:
        return None
    try:
        return Slot(catalogue).parse(fields) if data is None else sized(catalogue.load(fields["kind"]), fields, data)
    except (FthetaError, ValueError):
        return None


def with_presets(model: Any) -> Any:
    """A model section with the fields of the preset it names; None for one that does not exist."""
    fields = {"preset" if "/" in model else "kind": model} if isinstance(model, str) else model
    try:
        return with_preset(fields) if isinstance(fields, Mapping) and "preset" in fields else fields
    except ConfigError:
        return None


def ports_of(source: str, example: Mapping[str, Any]) -> Ports:
    """What a batch from a source gives when it is prepared in the usual way."""
    cls: type[Config] = ALL_SOURCES.load(source)
    config = cls.parse({"kind": source, **example})
    assert isinstance(config, SourceConfig)
    if isinstance(config, TextSource):
        return Ports(gives={"tokens": "ids B T", "documents": "ids B T"}, sizes={"V": 4096, "T": 256})
    return config.ports()


def sized(cls: type[ArchitectureConfig], fields: Mapping[str, Any], ports: Ports) -> ArchitectureConfig:
    """An architecture with its defaults but for some fields, sizes taken from the data."""
    return cls.parse(fill(cls, {"kind": cls.model_fields["kind"].default, **fields}, ports.sizes, STAND_IN))
