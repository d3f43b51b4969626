"""A small run of the user's own recipe on this machine, on which `certify` tries what should make no difference.

The parts, the data and the objective are the recipe's; fewer layers, rows and tokens make it quick. Parameters are moved a little away
from their initial values, since many start at zero and would hide what is multiplied by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ftheta.adaptation.freezing import Full
from ftheta.adaptation.prompting import Prompting
from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Estimator
from ftheta.blocks.initialise import normal
from ftheta.core.contract import Batch, Ports
from ftheta.core.device import pick
from ftheta.core.random import generator
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared
from ftheta.data.text import TextSource
from ftheta.evaluation.metrics.metric import Subject
from ftheta.evaluation.probes.small import reduced
from ftheta.experience.experience import ExperienceConfig
from ftheta.lifecycle.build import build_data, build_model, build_source, task_of
from ftheta.lifecycle.companion import build_objective
from ftheta.lifecycle.recipe import Recipe
from ftheta.models.model import Model
from ftheta.objectives.objective import Objective
from ftheta.training.checkpoints import Checkpoints
from ftheta.training.config import BUDGETS
from ftheta.training.events import Events, Listener
from ftheta.training.stopping import StopRequest
from ftheta.training.trainer import Trainer

ROWS = 7
"""Of a step; neither two processes nor micro-batches of three divide them evenly, so that unequal shares are tried."""
LENGTH = 64
STEPS = 8
DEPTH = 2
AWAY, FAR = 0.02, 0.3
"""Standard deviations of what is added to initial parameters: a little, and so much that answers differ from input to input."""
DOCUMENTS, CHARACTERS, EXAMPLES = 6, 600, 50
"""How much of the test split is scored."""


@dataclass
class Bench:
    """The reduced recipe, its data, and makers of models and trainers."""

    recipe: Recipe
    data: Prepared
    config: ArchitectureConfig

    @classmethod
    def of(cls, recipe: Recipe) -> Bench:
        """Reduce a recipe and read its data. Raises DataError."""
        data = build_data(shorter(recipe))
        config = recipe.architecture(data.ports.sizes)
        model = config.dump()
        whole = recipe.start is not None and not isinstance(recipe.adapt, Full)               # an adaptation may name layers
        if "gradients" in config.ports().traits and isinstance(model.get("depth"), int) and not whole:
            model["depth"] = min(model["depth"], DEPTH)
        small = with_few_rows(shorter(recipe), data).replace(model=model)
        return cls(small, data, small.architecture(data.ports.sizes))

    @property
    def ports(self) -> Ports:
        return self.config.ports()

    @property
    def gradients(self) -> bool:
        """Whether the model learns by gradients."""
        return "gradients" in self.ports.traits

    def model(self, dtype: torch.dtype = torch.float32, dropout: bool = False, away: float = AWAY) -> Architecture:
        """A model with parameters away from their initial values. Draws of dropout belong to a pass, so it is off unless asked for."""
        config = self.config if dropout else type(self.config).parse(reduced(self.config.dump(), {}))
        model = build_model(config, self.recipe.seed)
        if isinstance(model, Estimator):
            model.fit(self.data.splits["train"].batch(torch.arange(len(self.data.splits["train"]))), self.recipe.seed)
            return model
        for name, parameter in model.named_parameters():
            noise = torch.empty_like(parameter)
            normal(noise, away, self.recipe.seed, "away", name)
            parameter.data += noise
        if self.recipe.start is not None and not isinstance(self.recipe.adapt, Full | Prompting):
            self.recipe.adapt.apply(model, self.recipe.seed)
        model.to(dtype).compute_dtype = dtype
        return model

    def objective(self) -> Objective:
        """The objective, with a companion of its own where it has one."""
        return build_objective(self.recipe, self.data.processor)

    def trainer(self, dtype: torch.dtype = torch.float32, micro: int | None = None) -> Trainer:
        """A trainer for looking at gradients: nothing is clipped or saved."""
        config = self.recipe.train.replace(clip=None, micro_batch=micro)
        source = build_source(self.recipe, self.data)
        return Trainer(self.model(dtype), self.objective(), source, config, seed=self.recipe.seed)

    def run(self, folder: Path, listeners: list[Listener], stop: StopRequest | None = None) -> Trainer:
        """A trainer for a whole short run with everything the recipe says, checkpoints in `folder`."""
        source = build_source(self.recipe, self.data)
        model = self.model(dropout=True)
        events = Events(None, listeners)
        return Trainer(model, self.objective(), source, self.recipe.train, seed=self.recipe.seed, checkpoints=Checkpoints(folder), events=events, stop=stop)

    def packaged(self, away: float = AWAY) -> Model:
        """The model as it would be saved, but for what an adaptation keeps beside it."""
        model = self.model(away=away)
        if self.recipe.start is not None:
            self.recipe.adapt.finish(model)
        return Model(model, self.data.processor, task_of(self.recipe, self.config), {})

    def subject(self, model: Model) -> Subject:
        """A few units of the test split, for scoring."""
        texts = {name: [text[:CHARACTERS] for text in part[:DOCUMENTS]] for name, part in self.data.texts.items()}
        splits = {name: part if len(part) <= EXAMPLES else First(part, EXAMPLES) for name, part in self.data.splits.items()}
        return Subject(model, splits, texts, self.recipe.seed, self.recipe.data.source, self.data.prompts)

    def inputs(self, rows: int = ROWS) -> Batch:
        """Tensors for every input of the model, from the data, or what the objective makes of them, where these give them."""
        given: Mapping[str, Tensor] = {}
        if "train" in self.data.splits:
            given = self.data.splits["train"].batch(torch.arange(min(rows, len(self.data.splits["train"]))))
            made = build_source(self.recipe, self.data).batch(0, torch.arange(min(rows, self.recipe.train.batch or rows)), None)
            given = given if all(name in given or name not in made for name in self.ports.takes) else made
        sizes, longest = {"B": rows, **self.ports.sizes}, self.ports.sizes.get("T")
        found = {}
        for name, spec in self.ports.takes.items():
            if name in given:
                found[name] = given[name][:, :longest] if spec.split()[1:] == ["B", "T"] else given[name]
            elif not name.endswith("?"):
                kind, *letters = spec.split()
                shape, draws = [sizes[letter] for letter in letters], generator("bench", name)
                found[name] = torch.randint(sizes["V"], shape, generator=draws) if kind == "ids" else torch.randn(shape, generator=draws)
        return found


def shorter(recipe: Recipe) -> Recipe:
    """The recipe with short rows of tokens, or short rollouts."""
    data = recipe.data.dump()
    if data.get("pack"):
        data["pack"] = {"length": min(data["pack"]["length"], LENGTH)}
    elif isinstance(recipe.data.source, ExperienceConfig):
        data["source"] = recipe.data.source.shorter(ROWS).dump()
    elif isinstance(recipe.data.source, TextSource):
        data["pack"] = {"length": LENGTH}
    return recipe.replace(data=data)


def with_few_rows(recipe: Recipe, data: Prepared) -> Recipe:
    """The recipe with a budget of a few small steps, and what depends on a clock or a measurement fixed."""
    rows = min(ROWS, len(data.splits["train"])) if "train" in data.splits else ROWS
    train: dict[str, Any] = {
        **recipe.train.dump(), **dict.fromkeys(BUDGETS), "steps": STEPS, "batch": rows, "batch_tokens": None, "micro_batch": None,
        "precision": "float32", "compile": "never", "validation": None, "early_stop": None, "log_every": 1, "checkpoint": {"minutes": None}, "on_nonfinite": "stop",
        "device": "cpu" if pick(recipe.train.device).type == "cpu" else recipe.train.device,
    }
    return recipe.replace(train=train)


class First(Dataset):
    """The first examples of a data set."""

    def __init__(self, dataset: Dataset, size: int):
        self.dataset = dataset
        self.size = size

    @property
    def ports(self) -> Ports:
        return self.dataset.ports

    @property
    def fingerprint(self) -> str:
        return f"{self.dataset.fingerprint}[:{self.size}]"

    @property
    def units_per_example(self) -> int:
        return self.dataset.units_per_example

    def __len__(self) -> int:
        return self.size

    def batch(self, rows: Tensor) -> Batch:
        return self.dataset.batch(rows)
