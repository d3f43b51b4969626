"""A model folder: read and written whole, checked before use, with nothing in it ever executed.

Where the ecosystem has a name for the composition, `config.json` and the parameter names are the ecosystem's, so that its tools load the
folder as it is. `ftheta.json` says everything in our own terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Estimator
from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import commit, digest_file, verify
from ftheta.core.config import Slot
from ftheta.core.contract import Ports
from ftheta.core.errors import FolderError
from ftheta.data.processors import PROCESSORS
from ftheta.data.processors.text import TextProcessor
from ftheta.interop import FAMILIES, hub, llama2c
from ftheta.interop.huggingface.sentences import read_sentences
from ftheta.interop.mapping import Family, Line, to_ours, to_theirs
from ftheta.interop.ours import FACTS, FORMAT, described
from ftheta.interop.published import PUBLISHED, published
from ftheta.models.adapters import read_adapter
from ftheta.models.model import Model
from ftheta.models.outside import expressed, read_json

ADAPTERS = "adapters"
"""The folder inside that holds the adapters beside a model; `ftheta.json` says which are in use."""


def save(model: Model, folder: str | Path, *, card: str = "", extra: Mapping[str, Any] | None = None, replace: bool = False) -> Path:
    """Write a model folder atomically. `card` becomes its README.md; `extra` are further JSON files by name."""
    folder, architecture, used = Path(folder), model.architecture, dict(model.adapters.used)
    model.use({})                                                                         # adapters stay beside the model
    theta = {name: value.clone() if used else value for name, value in architecture.theta().items()}
    model.use(used)
    outside = expressed(architecture.config)
    named = theta if outside is None else to_theirs(outside[2], theta)
    said = described(architecture.config, model.task.name, model.processor, model.provenance, "ftheta" if outside is None else outside[0])
    said |= {"adapters": used} if model.adapters.known else {}
    with commit(folder, replace=replace) as attempt:
        attempt.write("model.safetensors", *tensor_files.pieces(named, {"format": "pt"}))
        attempt.write_json(FACTS, said)
        config = {"model_type": f"ftheta_{architecture.config.name}"} if outside is None else outside[1]
        if isinstance(model.processor, TextProcessor):
            ids = {f"{name}_token_id": model.processor.id(name) for name in ("bos", "eos", "pad")}
            chosen: dict[str, Any] = {"do_sample": True, "temperature": 0.8, "top_p": 0.95}
            if "source" in architecture.config.ports().takes:
                ids, chosen = {**ids, "decoder_start_token_id": next(iter(model.processor.answer_start), None)}, {"do_sample": False}
            config = {**config, **{name: value for name, value in ids.items() if config.get(name) is None}}
            attempt.write_json("generation_config.json", {**ids, **chosen})
        if "id2label" in config:
            names = [model.processor.label(i) for i in range(len(config["id2label"]))]
            config = {**config, "id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {name: i for i, name in enumerate(names)}}
        attempt.write_json("config.json", config)
        for name, data in model.processor.files().items():
            attempt.write(name, data)
        for name, adapter in model.adapters.known.items():
            adapter.write(attempt, f"{ADAPTERS}/{name}/")
        for name, value in (extra or {}).items():
            attempt.write_json(name, value)
        if card:
            attempt.write_text("README.md", card)
    return folder


def find(folder: str | Path) -> Path:
    """The model folder that is meant: this one, the one in this run folder, or that of a model of the hub or a published one. Raises FolderError."""
    return located(folder)[0]


def located(given: str | Path) -> tuple[Path, str]:
    """The model folder that is meant, and a name that goes on meaning it: as given, for a model of the hub with its commit."""
    if (name := hub.named(given)) is not None:
        folder, pinned = hub.fetch(name)
        return folder, str(pinned)
    folder = Path(given)
    if not folder.is_dir() and str(given) in PUBLISHED:
        return published(str(given)), str(given)
    if not folder.is_dir():
        raise FolderError(
            f"{folder} is not a folder; give a model folder, such as runs/NAME/model, a model of the hub, ORG/NAME, or a published model ({', '.join(PUBLISHED)})"
        )
    within = folder / "model"
    return (within if not (folder / FACTS).exists() and (within / FACTS).exists() else folder), str(given)


def origin_of(place: Path, name: str) -> dict[str, Any]:
    """Where a model comes from, for the provenance of what is made of it: what `located` says of it, and a hash of its weights."""
    files = sorted({path for pattern in hub.WEIGHTS for path in place.glob(pattern)})
    facts: dict[str, Any] = {"from": name, "weights": {path.name: f"xxh3_128:{digest_file(path)}" for path in files}}
    if (outside := hub.named(name)) is not None:
        facts |= {"from": outside.id, "commit": outside.revision}
    return facts


def config_of(folder: str | Path) -> ArchitectureConfig:
    """The architecture of a model folder, its parameters not read. Raises FolderError."""
    folder = find(folder)
    if not (folder / FACTS).exists():
        return foreign_config(folder)[1]
    return architecture_config(read_facts(folder)["architecture"])


def load(folder: str | Path) -> Model:
    """Open a model folder (ours, or a Hugging Face folder of a known family), a model of the hub (`org/name`, `org/name@revision`) or a
    llama2.c file. Raises FolderError with every problem found.
    """
    if Path(folder).is_file():
        config, theta, tokenizer = llama2c.read(Path(folder))
        architecture = with_values(config, theta, None, Path(folder))
        return Model(architecture, TextProcessor(tokenizer), "text-generation", {"from": str(folder), "format": "llama2.c"}, str(folder))
    folder, name = located(folder)
    if not (folder / FACTS).exists():
        return load_foreign(folder, origin_of(folder, name))
    if found := verify(folder):
        raise FolderError(f"{folder} is not as it was written:\n  " + "\n  ".join(found))
    facts = read_facts(folder)
    config = architecture_config(facts["architecture"])
    values = tensor_files.read(folder / "model.safetensors")
    outside = None if facts["names"] == "ftheta" else expressed(config)
    architecture = with_values(config, values, outside[2] if outside else None, folder)
    processor = PROCESSORS.load(facts["processor"]["kind"]).load(facts["processor"], folder)
    model = Model(architecture, processor, facts["task"], facts["provenance"], str(folder))
    for place in sorted((folder / ADAPTERS).glob("*/")):
        model.adapters.add(place.name, read_adapter(place), str(folder))
    return model.use(facts.get("adapters", {}))


def read_facts(folder: Path) -> dict[str, Any]:
    """What `ftheta.json` says. Raises FolderError for a format that is not known."""
    facts = read_json(folder / FACTS)
    if facts.get("format") != FORMAT:
        raise FolderError(f"{folder / 'ftheta.json'}: format {facts.get('format')} is not known to this version (known: {FORMAT})")
    return facts


def foreign_config(folder: Path) -> tuple[Family, ArchitectureConfig, dict[str, Any]]:
    """The outside family of a Hugging Face folder, our config for its `config.json`, and that file."""
    place = folder / "config.json"
    if not place.exists():
        raise FolderError(f"{folder} holds neither ftheta.json nor config.json: it is no model folder")
    theirs = read_json(place)
    kind = str(theirs.get("model_type"))
    if kind not in FAMILIES:
        raise FolderError(f"{place}: model_type: '{kind}' is not supported (supported: {', '.join(FAMILIES.names())})")
    family: Family = FAMILIES.load(kind)()
    try:
        config = family.import_config(theirs)
    except KeyError as error:
        raise FolderError(f"{place}: {error.args[0]} is missing") from None
    return family, config, theirs


def load_foreign(folder: Path, provenance: Mapping[str, Any]) -> Model:
    """A Hugging Face folder: `config.json`, `model.safetensors`, `tokenizer.json`."""
    family, config, theirs = foreign_config(folder)
    kind = theirs["model_type"]
    sentences = read_sentences(folder, config)
    config = sentences.config if sentences else config
    lines = list(family.lines(config))
    architecture = with_values(config, family.tidied(weights(folder), lines), lines, folder)
    facts: dict[str, Any] = {"labels": [label for _, label in sorted((int(k), v) for k, v in theirs.get("id2label", {}).items())]}
    sort = "text" if "tokens" in config.ports().takes else "image"
    facts |= {"longest": sentences.longest if sentences else None} if sort == "text" else {"channels": config.ports().sizes["C"]}
    processor = PROCESSORS.load(sort).load(facts, folder)
    known = config.ports().sizes.get("V", 0)
    if isinstance(processor, TextProcessor) and processor.vocab > known:
        ids = f"its tokenizer has ids up to {processor.vocab - 1:,}, its model knows only {known:,} tokens"
        raise FolderError(f"{folder}: {ids}: they are not of one model")
    return Model(architecture, processor, usual_task(config.ports(), sentences is not None), {**provenance, "format": kind}, str(folder))


def usual_task(ports: Ports, sentences: bool) -> str:
    """What a model that takes and gives this is used for; `sentences` says that its vectors are meant to be compared."""
    if "tokens" not in ports.takes:
        return "image-classification"
    if "embedding" in ports.gives:
        return "sentence-similarity" if sentences else "feature-extraction"
    if "span" in ports.gives:
        return "question-answering"
    if "value" in ports.gives:
        return "text-ranking"
    if "source" in ports.takes:
        return "translation"
    if ports.takes["tokens"] == "ids B K T":
        return "multiple-choice"
    if "logits" not in ports.gives:
        return "feature-extraction"
    words = {"logits B K": "text-classification", "logits B T K": "token-classification"}
    other = "fill-mask" if "bidirectional" in ports.traits else "text-generation"
    return words.get(ports.gives.get("logits", ""), other)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a foreign folder: one safetensors file, or shards that `model.safetensors.index.json` lists."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        return tensor_files.read(whole)
    if index.exists():
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(place, str) and Path(place).name == place for place in places.values()):
            raise FolderError(f"{index}: weight_map must say for every tensor which file of this folder holds it")
        found: dict[str, torch.Tensor] = {}
        for shard in sorted(set(places.values())):
            found |= tensor_files.read(folder / shard)
        if missing := sorted(places.keys() - found.keys()):
            raise FolderError(f"{index} lists tensors that no shard holds: {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}")
        return found
    hub.refuse_pickles(folder, [path.name for path in folder.iterdir()])
    raise FolderError(f"{whole} is missing")


def with_values(config: ArchitectureConfig, values: Mapping[str, torch.Tensor], lines: list[Line] | None, folder: Path) -> Architecture:
    """Build an architecture and fill in its parameters, every name, shape and type checked first."""
    architecture = config.build()
    if isinstance(architecture, Estimator):
        architecture.reserve({name: tuple(value.shape) for name, value in values.items()})
    wanted = architecture.theta()
    ours = dict(values) if lines is None else to_ours(lines, values, wanted)
    if found := tensor_files.mismatches(ours, wanted):
        raise FolderError(f"{folder / 'model.safetensors'} does not fit its configuration:\n  " + "\n  ".join(found))
    architecture.load_theta(ours)
    return architecture


def architecture_config(data: Any) -> ArchitectureConfig:
    config = Slot(ARCHITECTURES).parse(data)
    assert isinstance(config, ArchitectureConfig)
    return config
