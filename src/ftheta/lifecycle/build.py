"""The composition root: from a recipe to data, model, source and trainer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ftheta.adaptation.prompting import Prompting
from ftheta.architectures.architecture import Architecture, ArchitectureConfig
from ftheta.architectures.dense import Dense
from ftheta.architectures.headed import Headed
from ftheta.architectures.image_trunk import ImageTrunk
from ftheta.core.contract import Ports, check
from ftheta.core.errors import ConfigError, Problem
from ftheta.core.tensors import mismatches
from ftheta.data.corpus.executors import Executor, Local
from ftheta.data.labelled import LabelledTextSource
from ftheta.data.pack import Pack, Ramp
from ftheta.data.source import Dataset, Ordered, Shuffled, Source
from ftheta.data.sources.source_config import Prepared, Sections
from ftheta.data.split import Split
from ftheta.data.stages import home
from ftheta.experience.experience import ExperienceConfig
from ftheta.lifecycle.companion import companion_misfits
from ftheta.lifecycle.recipe import Recipe
from ftheta.lifecycle.reference import with_reference
from ftheta.models.folder import load as load_model
from ftheta.models.judging import Judges


def build_data(recipe: Recipe, executor: Executor | None = None) -> Prepared:
    """Run or find the data stages, on documents by `executor` (none: processes of this machine). Raises DataError."""
    section = recipe.data
    with contextlib.closing(executor or Local()) as performing:
        prepared = section.source.prepare(sections_of(recipe, performing))
    if isinstance(section.source, ExperienceConfig):
        prepared = replace(prepared, judge=Judges(prepared.processor))
    return with_reference(recipe, prepared) if recipe.objective.compares else prepared


def sections_of(recipe: Recipe, executor: Executor) -> Sections:
    """What the recipe says beside the source."""
    section, objective = recipe.data, recipe.objective
    return Sections(
        tokenizer=section.tokenizer_or_default(), cache=home() / "stages", clean=section.clean, deduplicate=section.deduplicate, split=section.split or Split(),
        pack=section.pack or Pack(), lookahead=objective.lookahead, seed=recipe.seed, controls=objective.controls, executor=executor,
    )


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
    for metric in recipe.evaluate:
        reasons += metric.misfits(data, model)
    reasons += companion_misfits(recipe, data, model)
    if recipe.data.pack and recipe.data.pack.ramp and "source" in recipe.objective.needs().feeds:
        reasons.append(f"data.pack.ramp: cuts rows into shorter ones, and '{recipe.objective.name}' makes a source and an answer of every whole row: leave it out")
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
    """Take over the parameters of a start of the same kind, or, for a model on top of a trunk, those of the start's trunk, with its head where the
    model keeps one, or, for a trunk of pictures, of the start's own; what is new stays as it is.

    Raises ConfigError with every parameter that does not fit.
    """
    theirs, mine = start.theta(), model.theta()
    if isinstance(model, Headed) and not (isinstance(start, Headed) and type(start.readout) is type(model.readout)):
        trunk = getattr(start, "trunk", start)                                            # what reads in a larger whole
        kept = model.trunk.head is not None
        theirs = {f"trunk.{name}": value for name, value in trunk.theta().items() if kept or not name.startswith("head.")}
        mine = {name: value for name, value in mine.items() if name.startswith("trunk.")}
    if isinstance(model, Dense) and type(model) is not type(start):
        trunk = getattr(start, "trunk", start)                                            # without what it would answer itself
        theirs = {f"trunk.{name}": value for name, value in trunk.theta().items() if name.split(".")[0] not in getattr(trunk, "answering", ())}
        mine = {name: value for name, value in mine.items() if name.startswith("trunk.")}
    if isinstance(model, ImageTrunk) and type(model) is type(getattr(start, "trunk", None)):                     # without what stands on it
        theirs = start.get_submodule("trunk").theta()                                     # type: ignore[operator]
        new = tuple(f"{part}." for part in model.answering if shapes(theirs, f"{part}.") != shapes(mine, f"{part}."))
        theirs, mine = ({name: value for name, value in side.items() if not name.startswith(new)} for side in (theirs, mine))
    if found := mismatches(theirs, mine):
        raise ConfigError([Problem(("model",), f"the parameters of {folder} do not fit: {line}") for line in found])
    model.load_theta(theirs)


def shapes(theta: Mapping[str, Tensor], prefix: str) -> dict[str, torch.Size]:
    """The shapes of the parameters whose names begin so."""
    return {name: value.shape for name, value in theta.items() if name.startswith(prefix)}


def build_source(recipe: Recipe, data: Prepared) -> Source:
    """The training source."""
    seed, train = recipe.seed, recipe.train
    if isinstance(recipe.data.source, ExperienceConfig):
        return recipe.data.source.source(train.batch or 64, seed, data)
    return Shuffled(data.splits["train"], batch_rows(recipe, data.splits["train"]), seed, recipe.objective.with_tokens(data.processor).prepare, recipe.data.augment)


def build_validation(recipe: Recipe, data: Prepared) -> Source | None:
    """The validation split in its own order, unchanged by augmentation; None when there is none."""
    if "validation" not in data.splits or recipe.train.validation is None:
        return None
    return Ordered(data.splits["validation"], batch_rows(recipe, data.splits["train"]), recipe.seed, recipe.objective.with_tokens(data.processor).prepare)


def build_ramp(recipe: Recipe) -> Ramp | None:
    """What makes rows shorter in the beginning, if the recipe wants that."""
    pack = recipe.data.pack
    return Ramp(pack, recipe.objective.lookahead) if pack and pack.ramp else None


def batch_rows(recipe: Recipe, dataset: Dataset) -> int:
    """Rows in a step: `train.batch`, or as many as hold `train.batch_tokens` (on average, where rows differ), or 64."""
    train = recipe.train
    if train.batch_tokens:
        rows, rest = divmod(train.batch_tokens, dataset.units_per_example)
        if not rows or (rest and dataset.lengths is None):
            raise ConfigError([Problem(("train", "batch_tokens"), f"{train.batch_tokens:,} is not a multiple of the {dataset.units_per_example:,} tokens of a row")])
        return rows
    return train.batch or min(64, len(dataset))


def task_of(recipe: Recipe, config: ArchitectureConfig) -> str:
    """What the trained model is used for, from the objective and what the model takes and gives."""
    ports = config.ports()
    tasks = recipe.objective.tasks()
    for name, task in sorted(tasks.items(), key=lambda item: " " not in item[0]):         # those that name a shape first
        word, _, spec = name.partition(" ")
        if word in ports.takes and spec in ("", ports.takes[word]):
            if task == "tabular":
                return "clustering" if "cluster" in ports.gives else "tabular-classification" if "logits" in ports.gives else "tabular-regression"
            return task
    raise ConfigError([Problem(("objective",), f"'{recipe.objective.name}' declares no task for a model that takes {', '.join(ports.takes)}")])


def completed(recipe: Recipe, sizes: Mapping[str, int]) -> Recipe:
    """The recipe with every field of its model filled in: what the run folder keeps."""
    return recipe.replace(model=recipe.architecture(sizes).dump())


