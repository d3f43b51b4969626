"""The model that an objective has run beside the one in training, such as a teacher: found, compared with the recipe, loaded."""

from __future__ import annotations

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs, call
from ftheta.core.contract import Batch, Ports, check
from ftheta.core.errors import ConfigError, FolderError, Problem
from ftheta.data.processors.processor import Processor
from ftheta.data.processors.text import TextProcessor
from ftheta.lifecycle.recipe import Recipe
from ftheta.models.folder import config_of
from ftheta.models.folder import load as load_model
from ftheta.models.model import Model
from ftheta.objectives.objective import Objective


def companion_misfits(recipe: Recipe, data: Ports, model: ArchitectureConfig) -> list[str]:
    """Every reason why the objective's companion does not fit the recipe's data and model; none where it has no companion."""
    folder = recipe.objective.companion
    if folder is None:
        return []
    try:
        ports = config_of(folder).ports()
    except FolderError as error:
        return [f"objective: its other model: {error}"]
    reasons = check(data, ports, recipe.objective.needs())
    letters = {letter for spec in recipe.objective.needs().wants.values() for letter in spec.split()[1:]}
    for letter in sorted(letters & {"V", "K"} & data.sizes.keys()):
        mine, theirs = model.ports().sizes.get(letter), ports.sizes.get(letter)
        if mine != theirs:
            reasons.append(f"it chooses among {theirs} answers, the model in training among {mine}: they must be the same")
    return [f"objective: its other model, {folder}: {reason}" for reason in reasons]


def load_companion(recipe: Recipe, processor: Processor) -> Model | None:
    """The companion, whose tokens and classes must be those of the data. Raises ConfigError, FolderError."""
    folder = recipe.objective.companion
    if folder is None:
        return None
    model = load_model(folder)
    theirs = model.processor
    if isinstance(processor, TextProcessor) and isinstance(theirs, TextProcessor) and processor.tokenizer.get_vocab() != theirs.tokenizer.get_vocab():
        place = f"data.tokenizer: {{kind: file, path: {folder}}}"
        raise ConfigError([Problem(("objective",), f"{folder} knows other tokens than the data is made of: take its tokenizer, {place}")])
    mine, other = (each.dump().get("labels", []) for each in (processor, theirs))
    if mine and other and mine != other:
        raise ConfigError([Problem(("objective",), f"{folder} knows the classes {', '.join(other[:8])}, the data has {', '.join(mine[:8])}: they must be the same, in one order")])
    return model


def accompanied(objective: Objective, companion: Architecture | None) -> Objective:
    """The objective with its companion, if it has one."""
    if companion is None:
        return objective

    def run(batch: Batch, **more: Tensor) -> Outputs:
        companion.to(next(iter(batch.values())).device)
        with torch.no_grad():
            return call(companion, batch, **more)

    return objective.accompanied(companion, run)


def build_objective(recipe: Recipe, processor: Processor) -> Objective:
    """The objective, with everything it needs beside the recipe. Raises ConfigError, FolderError."""
    companion = load_companion(recipe, processor)
    return accompanied(recipe.objective, None if companion is None else companion.architecture)
