"""The composition root: from a recipe to data, model, source and trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ftheta.adaptation.prompting import Prompting
from ftheta.architectures.architecture import Architecture, ArchitectureConfig
from ftheta.architectures.headed import Headed
from ftheta.core.contract import Batch, Ports, check, fits, listing
from ftheta.core.errors import ConfigError, Problem
from ftheta.core.random import Draws
from ftheta.core.tensors import mismatches
from ftheta.data.augment import Augmentation
from ftheta.data.chat.prepare import prepare_chat
from ftheta.data.labelled import prepare_labelled
from ftheta.data.processors.plain import PlainProcessor
from ftheta.data.processors.processor import Processor
from ftheta.data.source import Dataset, Ordered, Shuffled, Source
from ftheta.data.sources.chat import ChatSource
from ftheta.data.sources.source_config import LabelledTextSource, ResidentSource, TextSource
from ftheta.data.sources.tagged import TaggedText
from ftheta.data.stages import digest, home
from ftheta.data.tagged import prepare_tagged
from ftheta.data.text import Pack, Ramp, Split, prepare_text
from ftheta.data.tokens import TokenDataset
from ftheta.experience.rollouts import RolloutsConfig
from ftheta.lifecycle.recipe import Recipe, source_name
from ftheta.lifecycle.reference import with_reference
from ftheta.models.folder import load as load_model
from ftheta.objectives.objective import Objective


@dataclass
class Data:
    """What the data section amounts to once it has been read."""

    ports: Ports
    processor: Processor
    splits: dict[str, Dataset] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)
    """What came in, what was dropped, how large each split is."""


def build_data(recipe: Recipe) -> Data:
    """Run or find the data stages. Raises DataError."""
    cache = home() / "stages"
    section, lookahead = recipe.data, recipe.objective.lookahead
    if isinstance(section.source, TextSource):
        length = (section.pack or Pack()).length
        text = prepare_text(section.source, section.clean, section.split or Split(), section.tokenizer_or_default(), cache, recipe.seed)
        vocab = text.processor.vocab
        splits: dict[str, Dataset] = {}
        for name in ("train", "validation", "test"):
            if name == "train" or text.account["tokens"][name]["tokens"] >= length + lookahead:
                splits[name] = TokenDataset(text.tokens / f"{name}.npy", text.fingerprint(name), vocab, length, lookahead, text.processor.borders)
        return Data(splits["train"].ports, text.processor, splits, {name: text.texts(name) for name in ("train", "test")}, text.account)
    if isinstance(section.source, ChatSource):
        chat = prepare_chat(
            section.source.items(), section.source.template, section.split or Split(), section.tokenizer_or_default(), (section.pack or Pack()).length, lookahead,
            cache, recipe.seed,
        )
        splits = with_reference(recipe, chat.splits)
        return Data(splits["train"].ports, chat.processor, splits, account=chat.account)
    if isinstance(section.source, LabelledTextSource):
        prepared = prepare_labelled(section.source, section.tokenizer_or_default(), cache, recipe.seed)
        return Data(prepared.splits["train"].ports, prepared.processor, prepared.splits, account=account_of(prepared.splits))
    if isinstance(section.source, TaggedText):
        prepared = prepare_tagged(section.source.parts(), section.source.longest, section.tokenizer_or_default(), cache)
        return Data(prepared.splits["train"].ports, prepared.processor, prepared.splits, account=account_of(prepared.splits))
    if isinstance(section.source, ResidentSource):
        splits = section.source.splits(cache, recipe.seed)
        return Data(splits["train"].ports, section.source.processor(splits["train"]), splits, account=account_of(splits))
    return Data(section.source.ports(), PlainProcessor(), account={"source": source_name(section.source)})


def account_of(splits: Mapping[str, Dataset]) -> dict[str, Any]:
    """How large each split is, and what the data is recognised by."""
    return {"splits": {name: {"examples": len(split)} for name, split in splits.items()}, "fingerprint": digest([s.fingerprint for s in splits.values()])}


def misfits(recipe: Recipe, ports: Ports | None = None) -> list[str]:
    """Every reason why the recipe's data, model, objective and metrics do not fit together."""
    data = ports or recipe.data.ports()
    model = recipe.architecture(data.sizes, stand_in=True)
    reasons = check(data, model.ports(), recipe.objective.needs())
    try:
        with torch.device("meta"):
            model.build()
    except ValueError as error:                                                           # parts that do not go together, such as heads and dim
        reasons.append(f"model: {error}")
    if isinstance(recipe.adapt, Prompting) and not (isinstance(recipe.data.source, LabelledTextSource) and recipe.objective.name == "classification"):
        reasons.append("adapt: prompting names the classes of texts: choose a source of labelled texts, such as text_table, and objective 'classification'")
    longest, room = data.sizes.get("T"), model.ports().sizes.get("T")
    if recipe.adapt.in_front and longest and room and longest + recipe.adapt.in_front > room:
        reasons.append(f"adapt: {recipe.adapt.in_front} tokens before texts of up to {longest} are more than the {room} the model looks at: make one of them shorter")
    gives = model.ports().gives
    for metric in recipe.evaluate:
        missing = {name: spec for name, spec in metric.needs().items() if name not in gives or not fits(gives[name], spec)}
        if missing:
            reasons.append(f"evaluate: '{metric.name}' reads the model's {listing(missing)}, and '{model.name}' gives only {listing(gives)}: choose another metric")
        for objective in metric.objectives():
            reasons += [f"evaluate: '{metric.name}': {reason}" for reason in check(data, model.ports(), objective.needs())]
    players = {phase.player for phase in recipe.objective.phases()}
    for player in recipe.train.players:
        if player not in players:
            reasons.append(f"train.players: objective '{recipe.objective.name}' has no player '{player}' (players: {', '.join(sorted(players)) or 'none'})")
    return reasons


def refuse_misfits(recipe: Recipe, ports: Ports | None = None) -> None:
    """Raise ConfigError with every reason from `misfits`."""
    if reasons := misfits(recipe, ports):
        raise ConfigError([Problem((), reason) for reason in reasons], f"recipe '{recipe.name}' does not fit together")


def build_model(config: ArchitectureConfig, seed: int) -> Architecture:
    """The architecture with its initial parameters."""
    model = config.build()
    model.initialise(seed)
    return model


def starting_model(recipe: Recipe, sizes: Mapping[str, int]) -> Architecture:
    """What training begins with, prepared for the adaptation. Raises FolderError, ConfigError."""
    model = original_model(recipe, sizes)
    if recipe.start is not None:
        recipe.adapt.apply(model, recipe.seed)
    return model


def original_model(recipe: Recipe, sizes: Mapping[str, int]) -> Architecture:
    """Initial parameters, or those of `start`. Raises FolderError, ConfigError."""
    model = build_model(recipe.architecture(sizes), recipe.seed)
    if recipe.start is not None:
        begin_from(model, load_model(recipe.start).architecture, recipe.start)
    return model


def begin_from(model: Architecture, start: Architecture, folder: str) -> None:
    """Take over the parameters of a start of the same kind, or, for a model on top of a trunk, those of the trunk; what is new stays as it is.

    Raises ConfigError with every parameter that does not fit.
    """
    theirs, mine = start.theta(), model.theta()
    if isinstance(model, Headed) and not isinstance(start, Headed):
        theirs = {f"trunk.{name}": value for name, value in theirs.items() if not name.startswith("head.")}
        mine = {name: value for name, value in mine.items() if name.startswith("trunk.")}
    if found := mismatches(theirs, mine):
        raise ConfigError([Problem(("model",), f"the parameters of {folder} do not fit: {line}") for line in found])
    model.load_theta(theirs)


def build_source(recipe: Recipe, data: Data) -> Source:
    """The training source."""
    seed, train = recipe.seed, recipe.train
    if isinstance(recipe.data.source, RolloutsConfig):
        return recipe.data.source.source(train.batch or 64, seed)
    return Shuffled(data.splits["train"], batch_rows(recipe, data.splits["train"]), seed, Preparation(recipe.objective.with_tokens(data.processor.id), recipe.data.augment))


def build_validation(recipe: Recipe, data: Data) -> Source | None:
    """The validation split in its own order, unchanged by augmentation; None when there is none."""
    if "validation" not in data.splits or recipe.train.validation is None:
        return None
    return Ordered(data.splits["validation"], batch_rows(recipe, data.splits["train"]), recipe.seed, Preparation(recipe.objective.with_tokens(data.processor.id), ()))


def build_ramp(recipe: Recipe) -> Ramp | None:
    """What makes rows shorter in the beginning, if the recipe wants that."""
    pack = recipe.data.pack
    return Ramp(pack, recipe.objective.lookahead) if pack and pack.ramp else None


def batch_rows(recipe: Recipe, dataset: Dataset) -> int:
    """Rows in a step: `train.batch`, or as many as hold `train.batch_tokens`, or 64."""
    train = recipe.train
    if train.batch_tokens:
        rows, rest = divmod(train.batch_tokens, dataset.units_per_example)
        if rest or not rows:
            raise ConfigError([Problem(("train", "batch_tokens"), f"{train.batch_tokens:,} is not a multiple of the {dataset.units_per_example:,} tokens of a row")])
        return rows
    return train.batch or min(64, len(dataset))


class Preparation:
    """Augmentation, then the objective's own work, on every training batch."""

    def __init__(self, objective: Objective, augment: Sequence[Augmentation]):
        self.objective = objective
        self.augment = augment

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        for change in self.augment:
            batch = change(batch, draws)
        return self.objective.prepare(batch, draws)


def task_of(recipe: Recipe, config: ArchitectureConfig) -> str:
    """What the trained model is used for, from the objective and what the model takes and gives."""
    ports = config.ports()
    tasks = recipe.objective.tasks()
    for name in ports.takes:
        if name in tasks:
            task = tasks[name]
            if task == "tabular":
                return "clustering" if "cluster" in ports.gives else "tabular-classification" if "logits" in ports.gives else "tabular-regression"
            return task
    raise ConfigError([Problem(("objective",), f"'{recipe.objective.name}' declares no task for a model that takes {', '.join(ports.takes)}")])


def completed(recipe: Recipe, sizes: Mapping[str, int]) -> Recipe:
    """The recipe with every field of its model filled in: what the run folder keeps."""
    return recipe.replace(model=recipe.architecture(sizes).dump())


