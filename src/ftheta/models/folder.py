"""A model folder: read and written whole, checked before use, with nothing in it ever executed.

Where the ecosystem has a name for the composition, `config.json` and the parameter names are the ecosystem's, so that its tools load the
folder as it is. `ftheta.json` says everything in our own terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Estimator
from ftheta.blocks.few_bits import few_bits, keep_in_few_bits
from ftheta.blocks.quantised import Quantisation
from ftheta.core import memory
from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import Attempt, commit, digest_file, verify
from ftheta.core.config import Slot
from ftheta.core.contract import Ports
from ftheta.core.errors import ConfigError, FolderError, FthetaError
from ftheta.core.log import logger
from ftheta.data.processors import PROCESSORS
from ftheta.data.processors.processor import Processor
from ftheta.data.processors.text import TextProcessor
from ftheta.interop import FAMILIES, hub, llama2c
from ftheta.interop.fields import Fields
from ftheta.interop.huggingface.sentences import read_sentences
from ftheta.interop.mapping import Family, Line, to_ours, to_theirs
from ftheta.interop.ours import FACTS, FORMAT, described
from ftheta.interop.published import PUBLISHED, published
from ftheta.models.adapters import read_adapter
from ftheta.models.contract import GENERATION, PROMPT_FILES, contract, differences
from ftheta.models.model import Model
from ftheta.models.outside import expressed, read_json
from ftheta.models.tasks import TASKS

SEVERAL, SEVERAL_THERE = "multi-label-", "multi_label_classification"
"""How tasks begin whose answer is several classes, and what the ecosystem's `problem_type` calls them."""
ADAPTERS = "adapters"
"""The folder inside that holds the adapters beside a model; `ftheta.json` says which are in use."""


def save(model: Model, folder: str | Path, *, card: str = "", extra: Mapping[str, Any] | None = None, replace: bool = False) -> Path:
    """Write a model folder atomically. `card` becomes its README.md; `extra` are further JSON files by name."""
    folder = Path(folder)
    with commit(folder, replace=replace) as attempt:
        write_model(attempt, model, card=card, extra=extra)
    return folder


def write_model(attempt: Attempt, model: Model, *, card: str = "", extra: Mapping[str, Any] | None = None) -> None:
    """The files of a model folder, into a folder that is being committed."""
    architecture, used = model.architecture, dict(model.adapters.used)
    model.use({})                                                                         # adapters stay beside the model
    theta = {name: value.clone() if used else value for name, value in architecture.theta().items()}
    model.use(used)
    kept = few_bits(architecture)
    outside = None if kept else expressed(architecture.config)
    generation = generation_of(model)
    said = described(architecture.config, model.task.name, model.processor, model.provenance, "ftheta" if outside is None else outside[0])
    said |= {"adapters": used} if model.adapters.known else {}
    said |= {"few_bits": kept} if kept else {}
    said |= {"contract": contract(model.processor, generation)}
    attempt.write("model.safetensors", *tensor_files.pieces(theta if outside is None else to_theirs(outside[2], theta), {"format": "pt"}))
    attempt.write_json(FACTS, said)
    write_configs(attempt, model, {"model_type": f"ftheta_{architecture.config.name}"} if outside is None else outside[1], generation)
    for name, data in model.processor.files().items():
        attempt.write(name, data)
    for name, adapter in model.adapters.known.items():
        adapter.write(attempt, f"{ADAPTERS}/{name}/")
    for name, value in (extra or {}).items():
        attempt.write_json(name, value)
    if card:
        attempt.write_text("README.md", card)


def generation_of(model: Model) -> dict[str, Any] | None:
    """`generation_config.json`: control tokens by their ids, and how a text is written unless said otherwise; None for what writes none."""
    if not isinstance(model.processor, TextProcessor):
        return None
    ids = {f"{name}_token_id": model.processor.id(name) for name in ("bos", "eos", "pad")}
    if "source" in model.architecture.config.ports().takes:
        return {**ids, "decoder_start_token_id": next(iter(model.processor.answer_start), None), "do_sample": False}
    return {**ids, "do_sample": True, "temperature": 0.8, "top_p": 0.95}


def write_configs(attempt: Attempt, model: Model, config: Mapping[str, Any], generation: Mapping[str, Any] | None) -> None:
    """`config.json`, with what the processor knows, and `generation_config.json`."""
    if generation is not None:
        attempt.write_json(GENERATION, generation)
        ids = {name: value for name, value in generation.items() if name.endswith("_token_id") and config.get(name) is None}
        config = {**config, **ids}
    if "id2label" in config:
        names = [model.processor.label(i) for i in range(len(config["id2label"]))]
        config = {**config, "id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {name: i for i, name in enumerate(names)}}
        if model.task.name.startswith(SEVERAL):
            config["problem_type"] = SEVERAL_THERE
    attempt.write_json("config.json", config)


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


def load(folder: str | Path, *, accept: str | None = None) -> Model:
    """Open a model folder (ours, or a Hugging Face folder of a known family), a model of the hub (`org/name`, `org/name@revision`) or a
    llama2.c file. `accept` is the hash of a prompt contract that is not the one the folder was written with, and meant all the same.
    Raises FolderError with every problem found.
    """
    memory.keep()
    if Path(folder).is_file():
        config, theta, tokenizer = llama2c.read(Path(folder))
        architecture = with_values(config, theta, None, Path(folder))
        return Model(architecture, TextProcessor(tokenizer), "text-generation", {"from": str(folder), "format": "llama2.c"}, str(folder))
    folder, name = located(folder)
    if not (folder / FACTS).exists():
        return load_foreign(folder, origin_of(folder, name))
    found = verify(folder)
    if others := [problem for problem in found if not of_the_prompt(problem, folder)]:
        raise FolderError(f"{folder} is not as it was written:\n  " + "\n  ".join(others))
    facts = read_facts(folder)
    config = architecture_config(facts["architecture"])
    processor = checked_processor(folder, facts, found, accept)
    values = tensor_files.read(folder / "model.safetensors")
    outside = None if facts["names"] == "ftheta" else expressed(config)
    architecture = with_values(config, values, outside[2] if outside else None, folder, facts.get("few_bits", ()))
    model = Model(architecture, processor, facts["task"], facts["provenance"], str(folder))
    for place in sorted((folder / ADAPTERS).glob("*/")):
        model.adapters.add(place.name, read_adapter(place), str(folder))
    return model.use(facts.get("adapters", {}))


def of_the_prompt(problem: str, folder: Path) -> bool:
    """Whether this is about a file of the prompt contract, which may have been changed on purpose."""
    return any(problem.startswith((f"{folder / name} was changed", f"{folder / name} has")) for name in PROMPT_FILES)


def checked_processor(folder: Path, facts: Mapping[str, Any], changed: Sequence[str], accept: str | None) -> Processor:
    """The processor of one of our folders. Raises FolderError when it does not keep the contract the folder was written with, unless `accept` is the hash
    of the one that it keeps."""
    try:
        processor = PROCESSORS.load(facts["processor"]["kind"]).load(facts["processor"], folder)
        kept = contract(processor, read_generation(folder))
    except FthetaError as error:
        raise FolderError(f"{folder} is not as it was written:\n  " + "\n  ".join(changed)) if changed else error from None
    reasons = [*changed, *differences(facts.get("contract"), kept)]
    if reasons and accept != kept["hash"]:
        meant = f"it says --accept {accept}" if accept else "if that is meant"
        now = f"\n{meant}: the prompt contract is now {kept['hash']} (--accept {kept['hash']})"
        raise FolderError(f"{folder} is not as it was written:\n  " + "\n  ".join(reasons) + now)
    return processor


def read_generation(folder: Path) -> dict[str, Any] | None:
    place = folder / GENERATION
    return read_json(place) if place.exists() else None


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
    kind, fields = str(theirs.get("model_type")), Fields(theirs)
    if kind not in FAMILIES:
        raise FolderError(f"{place}: model_type: '{kind}' is not supported (supported: {', '.join(FAMILIES.names())})")
    family: Family = FAMILIES.load(kind)()
    try:
        if theirs.get("quantization_config"):
            raise FolderError(f"config.json: quantization_config: quantised weights are not supported for {kind}; use the model as it was before")
        config = family.import_config(fields)
    except KeyError as error:
        raise FolderError(f"{place}: {error.args[0]} is missing") from None
    except ConfigError as error:
        raise FolderError(f"{place}: {error}") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise FolderError(f"{place}: {fields.last}: {theirs.get(fields.last)!r} cannot be what is meant: {error}") from None
    if left := fields.unread():
        said = ", ".join(f"{name}: {str(theirs[name])[:40]}" for name in left)
        logger.warning("%s: not known for %s, so not read: %s. If the model computes otherwise because of it, its answers here are wrong", place, kind, said)
    return family, config, theirs


def load_foreign(folder: Path, provenance: Mapping[str, Any]) -> Model:
    """A Hugging Face folder: `config.json`, `model.safetensors`, `tokenizer.json`."""
    family, config, theirs = foreign_config(folder)
    kind = theirs["model_type"]
    sentences = read_sentences(folder, config)
    config = sentences.config if sentences else config
    lines = list(family.lines(config))
    values = family.tidied(weights(folder), lines)
    if bad := tensor_files.not_finite(values):
        names = ", ".join(f"'{name}'" for name in bad[:3]) + (" ..." if len(bad) > 3 else "")
        raise FolderError(f"{folder}: numbers that are not finite (NaN or infinite) in {names}: the file is damaged, or its training went wrong")
    architecture = with_values(config, values, lines, folder)
    facts: dict[str, Any] = {"labels": [label for _, label in sorted((int(k), v) for k, v in theirs.get("id2label", {}).items())]}
    sort = "text" if "tokens" in config.ports().takes else "image"
    facts |= {"longest": sentences.longest if sentences else None} if sort == "text" else {"channels": config.ports().sizes["C"]}
    processor = PROCESSORS.load(sort).load(facts, folder)
    known = config.ports().sizes.get("V", 0)
    if isinstance(processor, TextProcessor) and processor.vocab > known:
        ids = f"its tokenizer has ids up to {processor.vocab - 1:,}, its model knows only {known:,} tokens"
        raise FolderError(f"{folder}: {ids}: they are not of one model")
    task = usual_task(config.ports(), sentences is not None)
    if theirs.get("problem_type") == SEVERAL_THERE and SEVERAL + task in TASKS:
        task = SEVERAL + task
    return Model(architecture, processor, task, {**provenance, "format": kind}, str(folder))


def usual_task(ports: Ports, sentences: bool) -> str:
    """What a model that takes and gives this is used for; `sentences` says that its vectors are meant to be compared."""
    if "tokens" not in ports.takes:
        if "boxes" in ports.gives:
            return "object-detection"
        return "image-segmentation" if "H" in ports.gives["logits"].split() else "image-classification"
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


def with_values(
    config: ArchitectureConfig, values: Mapping[str, torch.Tensor], lines: list[Line] | None, folder: Path, kept: Sequence[Mapping[str, Any]] = (),
) -> Architecture:
    """Build an architecture and fill in its parameters, every name, shape and type checked first; `kept` says what is in few bits."""
    architecture = config.build()
    for said in kept:
        keep_in_few_bits(architecture, Quantisation.parse(said["how"]), said["maps"])
    if isinstance(architecture, Estimator):
        architecture.reserve({name: tuple(value.shape) for name, value in values.items()})
    wanted = architecture.theta()
    ours = dict(values) if lines is None else to_ours(lines, values, wanted)
    outside = {name: line.theirs for line in lines or () for name in line.ours if line.theirs}
    if found := tensor_files.mismatches(ours, wanted, outside):
        raise FolderError(f"{folder / 'model.safetensors'} does not fit its configuration:\n  " + "\n  ".join(found))
    architecture.load_theta(ours)
    return architecture


def architecture_config(data: Any) -> ArchitectureConfig:
    config = Slot(ARCHITECTURES).parse(data)
    assert isinstance(config, ArchitectureConfig)
    return config
