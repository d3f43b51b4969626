"""The recipe: every section in one strict file. The only place that knows all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ftheta.adaptation import ADAPTATIONS
from ftheta.adaptation.adaptation import Adaptation
from ftheta.adaptation.freezing import Full
from ftheta.architectures import ARCHITECTURES, PICTURE_TRUNKS, TRUNKS, presets
from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.dense import DenseConfig
from ftheta.core.config import SLIPS, Config, Slot, describe, fill, merge
from ftheta.core.contract import Ports
from ftheta.core.errors import ConfigError, DataError, FolderError, Problem, UsageError, distance, suggest
from ftheta.data.augment import AUGMENTATIONS
from ftheta.data.augment.augmentation import Augmentation
from ftheta.data.clean import RULES
from ftheta.data.clean.rules import Rule
from ftheta.data.dedup import DEDUPLICATIONS
from ftheta.data.dedup.deduplication import Deduplication
from ftheta.data.pack import Pack
from ftheta.data.sources import SOURCES
from ftheta.data.sources.source_config import SourceConfig, source_name
from ftheta.data.split import Split
from ftheta.data.tokenizers import TOKENIZERS
from ftheta.data.tokenizers.file import find as find_file
from ftheta.data.tokenizers.trained import TokenizerConfig
from ftheta.evaluation.metrics import METRICS
from ftheta.evaluation.metrics.metric import Metric
from ftheta.experience import EXPERIENCE
from ftheta.interop import hub
from ftheta.models.folder import config_of, located
from ftheta.objectives import OBJECTIVES
from ftheta.objectives.objective import Objective
from ftheta.training.config import TrainConfig

ALL_SOURCES = SOURCES | EXPERIENCE
STAND_IN = 8
"""A size used for checking until the data has been read."""


class DataConfig(Config):
    """Where data comes from and what is done to it before training."""

    source: Annotated[SourceConfig, Slot(ALL_SOURCES)]
    """Where it comes from."""
    clean: tuple[Annotated[Rule, Slot(RULES)], ...] = ()
    """Rules applied to every document, in order (text)."""
    deduplicate: tuple[Annotated[Deduplication, Slot(DEDUPLICATIONS)], ...] = ()
    """Ways in which documents are compared with each other, and with what they must not hold, in order (text)."""
    split: Split | None = None
    """Which share of the documents is kept for checking (text; other sources bring their own split)."""
    tokenizer: Annotated[TokenizerConfig, Slot(TOKENIZERS)] | None = None
    """How text becomes token ids (text)."""
    pack: Pack | None = None
    """How documents become rows (text)."""
    augment: tuple[Annotated[Augmentation, Slot(AUGMENTATIONS)], ...] = ()
    """Random changes of training examples (images)."""

    @model_validator(mode="after")
    def belongs(self) -> DataConfig:
        for name in ("clean", "deduplicate", "split", "tokenizer", "pack"):
            if getattr(self, name) and name not in self.source.sections:
                taken = ", ".join(sorted(self.source.sections)) or "none of clean, deduplicate, split, tokenizer and pack"
                raise ConfigError([Problem((name,), f"source '{source_name(self.source)}' has no use for it (it takes {taken}): leave it out")])
        if self.augment and "image" not in self.source.ports().gives:
            raise ConfigError([Problem(("augment",), f"is for images, and source '{source_name(self.source)}' gives none: leave it out")])
        for number, change in enumerate(self.augment):
            for name in change.reads:
                if name not in self.source.ports().gives:
                    message = f"'{change.name}' changes '{name}' too, and source '{source_name(self.source)}' gives none: leave it out"
                    raise ConfigError([Problem(("augment", number), message)])
        return self

    def ports(self) -> Ports:
        """What a batch will give, with the sizes that are known before any data is read."""
        ports, sections = self.source.ports(), self.source.sections
        vocab = self.tokenizer_or_default().size if "tokenizer" in sections else None
        length = {"T": (self.pack or Pack()).length} if "pack" in sections else {}
        return Ports(gives=ports.gives, sizes={**ports.sizes, **length, **({"V": vocab} if vocab else {})})

    def tokenizer_or_default(self) -> TokenizerConfig:
        tokenizer = self.tokenizer or Slot(TOKENIZERS).parse("byte_bpe")
        assert isinstance(tokenizer, TokenizerConfig)
        return tokenizer


class Arm(Config):
    """One of several ways to go on from a start that are compared."""

    adapt: Annotated[Adaptation, Slot(ADAPTATIONS)]
    """Which parameters move."""
    rate: float | None = Field(default=None, gt=0)
    """Its learning rate; none: the recipe's."""


class Recipe(Config):
    """A model from data to report: what `ftheta run` executes."""

    format: Literal[1]
    """The recipe format's number."""
    name: str = Field(pattern=r"^[\w][\w.-]*$", max_length=80)
    """Names the run folder, `runs/<name>`."""
    seed: int = Field(default=0, ge=0)
    """Decides every random draw."""
    data: DataConfig
    """Where data comes from."""
    start: str | None = None
    """A model folder, ours or a Hugging Face one, or a model of the hub (`org/name`, `org/name@revision`), whose architecture, parameters and
    tokenizer training goes on from; none: from nothing. The run keeps a hub model's commit and goes on with it."""
    adapt: Annotated[Adaptation, Slot(ADAPTATIONS)] = Full()
    """Which parameters move when training goes on from a model."""
    arms: tuple[Arm, ...] | None = Field(default=None, min_length=1)
    """Instead of `adapt`: several ways to go on from the start, for `ftheta compare`; none: prompting, probe, lora and full."""
    model: dict[str, Any]
    """The architecture: `kind` (or `preset`) and its fields; sizes the data knows may be left out, and with `start` all that does not change."""
    objective: Annotated[Objective, Slot(OBJECTIVES)]
    """What training minimises."""
    train: TrainConfig = TrainConfig()
    """How long and how."""
    evaluate: tuple[Annotated[Metric, Slot(METRICS)], ...] = ()
    """What is measured at the end."""

    @model_validator(mode="after")
    def goes_on_from_something(self) -> Recipe:
        if self.start is None and not isinstance(self.adapt, Full):
            raise ConfigError([Problem(("adapt",), "changes a model that is there already: say which one with `start: FOLDER`, or leave adapt out")])
        return self

    @model_validator(mode="after")
    def model_parses(self) -> Recipe:
        """The model section is checked as strictly as the others, sizes not yet known stood in for."""
        try:
            self.architecture(self.data.ports().sizes, stand_in=True)
        except ConfigError as error:
            raise ConfigError([Problem(("model", *problem.path), problem.message) for problem in error.problems]) from None
        return self

    def architecture(self, sizes: Mapping[str, int], stand_in: bool = False) -> ArchitectureConfig:
        """The architecture's config, fields left out filled in from the data's sizes. Raises ConfigError."""
        fields = dict(self.model)
        kind = fields.get("kind")
        if not isinstance(kind, str):
            for typed in fields:
                if "kind" not in fields and distance(str(typed), "preset") <= SLIPS:
                    raise ConfigError([Problem((typed,), f"no such field; did you mean 'preset'? (presets: {', '.join(presets())})")])
                if "kind" not in fields and distance(str(typed), "kind") <= SLIPS:
                    raise ConfigError([Problem((typed,), f"no such field; did you mean 'kind'? (architectures: {', '.join(ARCHITECTURES.names())})")])
            raise ConfigError([Problem(("kind",), f"say which architecture: one of {', '.join(ARCHITECTURES.names())} (or a preset)")])
        if kind in ARCHITECTURES:
            fields = fill(ARCHITECTURES.load(kind), fields, sizes, STAND_IN if stand_in else None)
        try:
            config = Slot(ARCHITECTURES).parse(fields)
        except ValueError as error:
            raise error if isinstance(error, ConfigError) else ConfigError([Problem((), str(error))]) from None
        assert isinstance(config, ArchitectureConfig)
        return config


def load(recipe: str | Path | Mapping[str, Any], changes: Sequence[str] | Mapping[str, Any] = (), begun: str | None = None) -> Recipe:
    """Read a recipe: a file, a shipped recipe's name, or plain data, with `a.b=c` changes laid over it. Raises ConfigError.

    `begun` is the start of the run so far: a model of the hub named without a revision is the commit it was then.
    """
    if isinstance(recipe, Mapping):
        data, origin = dict(recipe), "recipe"
    else:
        path = find(recipe)
        data, origin = read_yaml(path), str(path)
    data = extended(data, origin)
    if not isinstance(changes, Mapping):
        for change in changes:
            data = merge(data, parse_change(change))
    else:
        data = merge(data, changes)
    if isinstance(data.get("model"), str):
        data = {**data, "model": {"preset" if "/" in data["model"] else "kind": data["model"]}}
    if isinstance(data.get("model"), Mapping) and "preset" in data["model"]:
        data = {**data, "model": with_preset(data["model"])}
    if isinstance(data.get("start"), str):
        data = continued(data, origin, begun)
    return Recipe.parse(data, origin)


def extended(data: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """`extends: NAME` starts from another recipe."""
    data = dict(data)
    base = data.pop("extends", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise ConfigError([Problem(("extends",), f"expected a recipe's name, got {describe(base)}")], origin)
    near = Path(origin).parent / f"{base}.yaml"
    path = near if near.exists() else find(base)
    return merge(extended(read_yaml(path), str(path)), data)


def continued(data: Mapping[str, Any], origin: str, begun: str | None) -> dict[str, Any]:
    """`start: FOLDER`: the model and the tokenizer are those of the folder, with the recipe's changes of the model laid over them."""
    try:
        earlier = hub.named(begun) if begun else None
        folder, start = located(str(earlier) if earlier and str(hub.named(data["start"])) == earlier.id else data["start"])
        config = config_of(folder)
        theirs = config.dump()
    except FolderError as error:
        raise ConfigError([Problem(("start",), str(error))], origin) from None
    model, section = data.get("model") or {}, data.get("data")
    trunk = getattr(config, "trunk", config).dump()
    if isinstance(model, Mapping) and model.get("kind") == "headed" and trunk["kind"] in TRUNKS and (theirs["kind"] != "headed" or another_readout(model, theirs)):
        model = {**model, "trunk": merge({**trunk, "head": None}, model.get("trunk") or {})}
    elif isinstance(model, Mapping) and model.get("kind") != theirs["kind"] and trunk["kind"] in PICTURE_TRUNKS and stands_on_maps(model):
        model = {**model, "trunk": merge(unclassed(trunk), model.get("trunk") or {})}
    elif isinstance(model, Mapping) and trunk["kind"] == model.get("kind") != theirs["kind"]:                    # what stands on it is left out
        model = merge(unclassed(trunk), model)
    elif isinstance(model, Mapping):
        if model.get("kind", theirs["kind"]) != theirs["kind"]:
            raise ConfigError([Problem(("model", "kind"), f"'{model['kind']}', but {folder} holds a {theirs['kind']}: leave it out")], origin)
        model = merge(theirs, model)
    if isinstance(section, Mapping) and (place := find_tokenizer(folder)) is not None:
        own = {"kind": "file", "path": str(place)}
        whole = Slot(TOKENIZERS).parse(own).dump()
        if merge(whole, section.get("tokenizer") or own) != whole:
            raise ConfigError([Problem(("data", "tokenizer"), f"text must become the tokens that the model of {folder} knows: leave it out")], origin)
        section = {**section, "tokenizer": own}
    return {**data, "start": start, "model": model, "data": section}


def unclassed(trunk: Mapping[str, Any]) -> dict[str, Any]:
    """A trunk's fields without its number of classes, which is that of the new data."""
    return {name: value for name, value in trunk.items() if name != "classes"}


def find_tokenizer(folder: Path) -> Path | None:
    """The file of a model folder's tokenizer, if it has one."""
    try:
        return find_file(folder)
    except DataError:
        return None


def stands_on_maps(model: Mapping[str, Any]) -> bool:
    """Whether a recipe's model stands on the maps of a trunk of pictures."""
    kind = model.get("kind")
    return kind in ARCHITECTURES and issubclass(ARCHITECTURES.load(str(kind)), DenseConfig)


def another_readout(model: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether a recipe's model names a readout of another kind than the start has."""
    named = model.get("readout")
    kind = named.get("kind") if isinstance(named, Mapping) else named
    return kind not in (None, theirs["readout"]["kind"])


def shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    inside = Path(str(resources.files("ftheta"))) / "recipes"
    folder = inside if inside.is_dir() else Path(__file__).parents[3] / "recipes"         # a checkout keeps them beside src
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(recipe: str | Path) -> Path:
    """The file of a recipe given by path or shipped name."""
    path, known = Path(recipe), shipped()
    if path.is_file():
        return path
    if path.stem in known and path.suffix in ("", ".yaml") and path.parent in (Path("."), Path("recipes")):
        return known[path.stem]
    raise UsageError(f"no recipe '{recipe}': no such file, and no shipped recipe of that name{suggest(str(recipe), known, 'shipped recipes')}")


def read_yaml(path: Path) -> dict[str, Any]:
    """A file's YAML 1.2 mapping. Raises ConfigError naming file and line."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 at byte {error.start}") from None


def parse_yaml(text: str, origin: str) -> dict[str, Any]:
    """A YAML 1.2 mapping. Raises ConfigError naming the line."""
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = str(getattr(error, "problem", "") or error).splitlines()[0]
        raise ConfigError([Problem((), f"{what}{place}")], origin) from None
    except RecursionError:
        raise ConfigError([Problem((), "lists and mappings are nested too deeply")], origin) from None
    if not isinstance(data, dict):
        raise ConfigError([Problem((), f"expected a mapping of sections, got {describe(data)}")], origin)
    return data


def with_preset(model: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's fields with the recipe's laid over them."""
    known = presets()
    name = model["preset"]
    if name not in known:
        raise ConfigError([Problem(("model", "preset"), f"'{name}' is not a preset{suggest(str(name), known, 'presets')}")])
    return merge(read_yaml(known[name]), {key: value for key, value in model.items() if key != "preset"})


def parse_change(change: str) -> dict[str, Any]:
    """`a.b=c` as nested mappings; c is read as YAML."""
    match = re.fullmatch(r"([\w]+(?:\.[\w]+)*)=(.*)", change, re.DOTALL)
    if not match:
        raise UsageError(f"--set {change}: expected section.field=value, such as train.minutes=5")
    try:
        value: Any = YAML(typ="safe", pure=True).load(match[2]) if match[2] else ""
    except YAMLError:
        raise UsageError(f"--set {change}: the value is not valid YAML") from None
    for name in reversed(match[1].split(".")):
        value = {name: value}
    return value


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two plain recipes differ, one line each."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [line for key in sorted({*old, *new}) for line in differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)]
    return [] if old == new else [f"{path}: was {describe(old)}, now {describe(new)}"]
