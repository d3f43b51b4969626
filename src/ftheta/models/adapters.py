"""Adapters: what was learned beside a frozen model, without the model; in folders as PEFT writes and reads them.

`adapter_config.json` says which sort (`LORA`, `PROMPT_TUNING`, `PREFIX_TUNING`) and how large. `adapter_model.safetensors` holds, of low-rank
changes, `base_model.model.<map>.lora_A.weight` (rank, inputs), `.lora_B.weight` (outputs, rank) and, for DoRA, `.lora_magnitude_vector` (outputs,),
maps under the ecosystem's names; of convolutions (rank, inputs, height, width), (outputs, rank, 1, 1) and (1, outputs, 1, 1);
of learned tokens, `prompt_embeddings` (P, D) or (P, layers · 2 · width of the values). Our folders hold a third file, `base.json`, with the
fingerprint of the model they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ftheta.adaptation.adaptation import Adaptation
from ftheta.adaptation.lora import LoRA, LowRank, by_row, product
from ftheta.adaptation.virtual import VirtualTokens, reader_of
from ftheta.architectures.architecture import Architecture
from ftheta.architectures.decoder import Decoder
from ftheta.blocks.attention import Attention
from ftheta.blocks.virtual import Prefix, SoftPrompt
from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import Attempt, commit
from ftheta.core.errors import FolderError, UsageError, suggest
from ftheta.models.outside import read_json, table

PREFIX = "base_model.model."
CONFIG, TENSORS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
TOKENS = "prompt_embeddings"
SUPPORTED: dict[str, dict[str, Any]] = {
    "LORA": {
        "bias": "none", "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "layer_replication": None,
        "lora_bias": False, "trainable_token_indices": None,
    },
    "PROMPT_TUNING": {"num_transformer_submodules": 1, "modules_to_save": None},
    "PREFIX_TUNING": {"num_transformer_submodules": 1, "modules_to_save": None},
}
"""Sorts of adapter, and what these fields of `adapter_config.json` must say, when they are there."""


@dataclass(frozen=True)
class Adapter:
    """What was learned beside a model."""

    config: dict[str, Any]
    """adapter_config.json."""
    tensors: dict[str, Tensor]
    """adapter_model.safetensors."""
    base: str | None = None
    """The fingerprint of the model it belongs to, where that is known."""
    place: str = "adapter"
    """What it is called in messages: its folder."""

    @property
    def kind(self) -> str:
        return str(self.config.get("peft_type"))

    def write(self, attempt: Attempt, below: str = "") -> None:
        """Its files, in a folder that is being committed."""
        attempt.write(f"{below}{TENSORS}", *tensor_files.pieces(self.tensors, {"format": "pt"}))
        attempt.write_json(f"{below}{CONFIG}", self.config)
        if self.base is not None:
            attempt.write_json(f"{below}{BASE}", {"fingerprint": self.base})


def learned_beside(model: Architecture, adapt: Adaptation, base: str, fingerprint: str | None = None) -> Adapter | None:
    """What an adaptation has learned beside the model, before it is finished; None for adaptations that change the model's own parameters.

    `base` is the model folder it goes with. Raises UsageError when the ecosystem has no name for it.
    """
    if isinstance(adapt, LoRA):
        config, tensors = low_rank(model, adapt)
    elif isinstance(adapt, VirtualTokens):
        config, tensors = virtual_tokens(model)
    else:
        return None
    ports = model.config.ports()
    sort = "CAUSAL_LM" if "causal" in ports.traits else "FEATURE_EXTRACTION" if "tokens" in ports.takes else None        # of pictures they have no sort
    return Adapter({"task_type": sort, "base_model_name_or_path": base, "inference_mode": True, **config}, tensors, fingerprint)


def low_rank(model: Architecture, adapt: LoRA) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The low-rank changes inside a model."""
    changes = {name: part for name, part in model.named_modules() if isinstance(part, LowRank)}
    theirs = outside_names(model)
    if missing := [name for name in changes if len(theirs.get(name, ((), ""))[0]) != 1]:
        raise UsageError(f"'{model.config.name}' as composed has no name of its own for {missing[0]} in the ecosystem: keep the merged model")
    tensors: dict[str, Tensor] = {}
    for name, change in changes.items():
        place = PREFIX + theirs[name][1]
        pixels = (1,) * (change.down.ndim - 2)                                            # of a convolution
        up = change.up.detach()
        tensors |= {f"{place}.lora_A.weight": change.down.detach(), f"{place}.lora_B.weight": up.view(*up.shape, *pixels)}
        if change.magnitude is not None:
            tensors[f"{place}.lora_magnitude_vector"] = change.magnitude.detach().view(*pixels[:1], -1, *pixels)
    transposed = any(line.transpose for line in table(model.config) if any(name.removesuffix(".weight") in changes for name in line.ours))
    config = {
        "peft_type": "LORA", **SUPPORTED["LORA"], "r": adapt.rank, "lora_alpha": adapt.alpha, "lora_dropout": adapt.dropout, "use_dora": adapt.magnitude,
        "target_modules": sorted(theirs[name][1] for name in changes), "fan_in_fan_out": transposed, "init_lora_weights": True,
    }
    return config, tensors


def virtual_tokens(model: Architecture) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The learned tokens of a model; of a prefix, what its map makes of them."""
    reader = reader_of(model)
    assert reader is not None and reader.virtual is not None
    virtual = reader.virtual
    config: dict[str, Any] = {"num_virtual_tokens": virtual.count, "num_layers": len(reader.layers), "num_transformer_submodules": 1}
    if isinstance(virtual, SoftPrompt):
        heads = [part.heads for part in reader.modules() if isinstance(part, Attention)]
        config |= {"peft_type": "PROMPT_TUNING", "token_dim": reader.config.embed_width, "num_attention_heads": heads[0] if heads else 1, "prompt_tuning_init": "RANDOM"}
        return config, {TOKENS: virtual.weight.detach()}
    width = virtual.heads * virtual.head_dim
    config |= {"peft_type": "PREFIX_TUNING", "token_dim": width, "num_attention_heads": virtual.heads, "encoder_hidden_size": width, "prefix_projection": False}
    return config, {TOKENS: virtual.table().detach()}


def ensure_whole(model: Architecture) -> None:
    """Raise UsageError when more was learned than what is beside the model, such as a readout."""
    beside = (LowRank, SoftPrompt, Prefix)
    own = {parameter for part in model.modules() if isinstance(part, beside) for parameter in part.parameters()}
    if others := [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter not in own]:
        raise UsageError(f"{others[0]} was learned too, so the adapter alone would not be the model: keep the merged model")


def save_adapter(model: Architecture, adapt: LoRA | VirtualTokens, folder: Path, base: str, fingerprint: str | None = None) -> Path:
    """Write what was learned beside `model` as a PEFT folder that goes with the model folder `base`, atomically."""
    ensure_whole(model)
    adapter = learned_beside(model, adapt, base, fingerprint)
    assert adapter is not None
    with commit(folder, replace=True) as attempt:
        adapter.write(attempt)
    return folder


def read_adapter(folder: Path) -> Adapter:
    """A PEFT folder. Raises FolderError for what is not supported."""
    config = read_json(folder / CONFIG)
    kind = str(config.get("peft_type"))
    if kind not in SUPPORTED:
        raise FolderError(f"{folder / CONFIG}: peft_type: {kind} is not supported (supported: {', '.join(SUPPORTED)})")
    for name, supported in SUPPORTED[kind].items():
        if config.get(name, supported) not in (supported, None):
            raise FolderError(f"{folder / CONFIG}: {name}: {config[name]} is not supported (supported: {supported})")
    base = read_json(folder / BASE).get("fingerprint") if (folder / BASE).exists() else None
    return Adapter(config, tensor_files.read(folder / TENSORS), base, str(folder))


@torch.no_grad()
def merge_adapter(model: Architecture, folder: Path) -> None:
    """Add a PEFT folder's low-rank changes to the model's parameters. Raises FolderError with every problem found."""
    adapter = read_adapter(folder)
    if adapter.kind != "LORA":
        raise FolderError(f"{folder}: learned tokens stay beside the model: use Model.attach")
    theta = model.theta()
    for name, value in changed_weights(model, adapter):
        theta[name].copy_(value)


class Change(NamedTuple):
    """A low-rank change of a linear map W x, by itself: (W x + up down x) · ratio."""

    down: Tensor
    """(rank, inputs)."""
    up: Tensor
    """(outputs, rank), scaled."""
    ratio: Tensor | None
    """(outputs,) by how much the length of every row changes (DoRA); None: not."""


class Fitted(NamedTuple):
    """The part of an adapter that is of one map of the ecosystem's, and our maps that this is."""

    names: tuple[str, ...]
    weight: Tensor
    change: Tensor
    down: Tensor
    up: Tensor
    length: Tensor | None

    @property
    def changed(self) -> Tensor:
        """The new weight, before rows get their lengths."""
        return self.weight + self.change

    def ratio(self) -> Tensor | None:
        return None if self.length is None else self.length.to(self.weight) / self.changed.flatten(1).norm(dim=1)


@torch.no_grad()
def fitted(model: Architecture, adapter: Adapter) -> Iterator[Fitted]:
    """Every low-rank change beside the maps or convolutions it is of. Raises FolderError for what does not fit."""
    ours = {theirs: names for names, theirs in outside_names(model).values()}
    if unknown := [name for name in adapter.tensors if place_of(name) not in ours]:
        raise FolderError(f"{adapter.place}: the model has no map for " + ", ".join(sorted(unknown)[:5]))
    scale = float(adapter.config["lora_alpha"]) / int(adapter.config["r"])
    for place in sorted({place_of(name) for name in adapter.tensors}):
        parts = {part: adapter.tensors.get(f"{PREFIX}{place}.{part}") for part in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")}
        down, up, length = parts.values()
        weight = torch.cat([model.get_submodule(name).weight for name in ours[place]])        # type: ignore[list-item]
        if down is None or up is None or down.shape[1:] != weight.shape[1:] or up.shape != (len(weight), len(down), *(1 for _ in weight.shape[2:])):
            shapes = {part: None if value is None else tuple(value.shape) for part, value in parts.items()}
            raise FolderError(f"{adapter.place}: {place}: {shapes} do not fit a map of {tuple(weight.shape)}")
        yield Fitted(ours[place], weight, scale * product(up, down).to(weight), down.to(weight), scale * up.to(weight), None if length is None else length.flatten())


def rows_of(model: Architecture, names: Sequence[str]) -> list[int]:
    """How many rows each of our maps has."""
    return [len(model.get_submodule(name).weight) for name in names]                          # type: ignore[arg-type]


@torch.no_grad()
def changed_weights(model: Architecture, adapter: Adapter) -> Iterator[tuple[str, Tensor]]:
    """Our name and new value of every weight that low-rank changes are of. Raises FolderError for what does not fit."""
    for part in fitted(model, adapter):
        ratio = part.ratio()
        weight = part.changed if ratio is None else by_row(part.changed, ratio)
        yield from ((f"{name}.weight", piece) for name, piece in zip(part.names, weight.split(rows_of(model, part.names)), strict=True))


@torch.no_grad()
def changes(model: Architecture, adapter: Adapter) -> dict[str, Change]:
    """Our map → its change, to be computed beside it. Raises FolderError for what does not fit."""
    found = {}
    for part in fitted(model, adapter):
        sizes, ratio = rows_of(model, part.names), part.ratio()
        ratios = [None] * len(sizes) if ratio is None else ratio.split(sizes)
        found |= {name: Change(part.down, up, own) for name, up, own in zip(part.names, part.up.split(sizes), ratios, strict=True)}
    return found


def tokens_of(reader: Decoder, adapter: Adapter) -> SoftPrompt | Prefix:
    """The learned tokens of an adapter as a part of this model. Raises FolderError when they do not fit."""
    values = adapter.tensors.get(TOKENS)
    attention = next((part for part in reader.modules() if isinstance(part, Attention)), None)
    width = reader.config.embed_width
    if adapter.kind == "PREFIX_TUNING":
        width = 0 if attention is None else 2 * len(reader.layers) * (attention.value_dim or 0)
    if values is None or values.ndim != 2 or values.shape[1] != width:
        shape = "nothing" if values is None else tuple(values.shape)
        raise FolderError(f"{adapter.place}: {TOKENS} is {shape}, and the model needs (tokens, {width})")
    if attention is None or adapter.kind == "PROMPT_TUNING":
        made: SoftPrompt | Prefix = SoftPrompt(len(values), width)
    else:
        made = Prefix(len(values), len(reader.layers), attention.kv_heads, (attention.value_dim or 0) // attention.kv_heads)
    made = made.to(reader.embed.weight)
    made.weight.data.copy_(values)
    return made


@dataclass
class Adapters:
    """The adapters beside a model, and those in use: θ = original + Σ weight · change, behind the learned tokens of one at most."""

    architecture: Architecture
    known: dict[str, Adapter] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    originals: dict[str, Tensor] = field(default_factory=dict)
    """Our name → the original of every parameter that is changed now."""

    def add(self, name: str, adapter: Adapter, base: str) -> None:
        """Know an adapter; `base` is what the model is called in messages. Raises FolderError when it belongs to another model."""
        self.use({})
        mine = tensor_files.fingerprint(self.architecture.theta())
        if adapter.base not in (None, mine):
            theirs = adapter.config.get("base_model_name_or_path")
            raise FolderError(f"{adapter.place} was learned beside {theirs} (fingerprint {str(adapter.base)[:8]}), not beside {base} ({mine[:8]})")
        try:
            if adapter.kind == "LORA":
                for _ in changed_weights(self.architecture, adapter):
                    pass
            else:
                self.tokens(adapter)
        except FolderError as error:
            theirs = adapter.config.get("base_model_name_or_path")
            raise FolderError(f"{error}; the adapter was learned beside {theirs}, the model is {base}") from None
        self.known[name] = adapter

    @torch.no_grad()
    def use(self, weights: Mapping[str, float]) -> None:
        """Change the model by these adapters, each as much as its weight says; by none when there are none. Raises UsageError."""
        if not weights and not self.used:
            return
        for name in weights:
            if name not in self.known:
                raise UsageError(f"no adapter is called '{name}'{suggest(name, self.known, 'adapters')}")
        virtual = [name for name in weights if self.known[name].kind != "LORA"]
        if len(virtual) > 1 or any(weights[name] != 1 for name in virtual):
            raise UsageError(f"{', '.join(virtual)}: learned tokens cannot be mixed: use one adapter of this sort, with weight 1")
        theta = self.architecture.theta()
        for name, value in self.originals.items():
            theta[name].copy_(value)
        self.originals = {}
        changes = {name: list(changed_weights(self.architecture, self.known[name])) for name in weights if name not in virtual}
        for adapter, parts in changes.items():
            for name, value in parts:
                original = self.originals.setdefault(name, theta[name].clone())
                theta[name].add_((value - original) * weights[adapter])
        if (reader := reader_of(self.architecture)) is not None:
            reader.virtual = self.tokens(self.known[virtual[0]]) if virtual else None
        self.used = dict(weights)

    def tokens(self, adapter: Adapter) -> SoftPrompt | Prefix:
        reader = reader_of(self.architecture)
        if reader is None:
            raise FolderError(f"{adapter.place}: learned tokens stand before texts, and '{self.architecture.config.name}' reads none")
        return tokens_of(reader, adapter)


def place_of(name: str) -> str:
    """The map a tensor of an adapter belongs to, under the ecosystem's name."""
    return name.removeprefix(PREFIX).removesuffix(".weight").removesuffix(".lora_A").removesuffix(".lora_B").removesuffix(".lora_magnitude_vector")


def outside_names(model: Architecture) -> dict[str, tuple[tuple[str, ...], str]]:
    """Our map → (all our maps that are one of theirs, their name); under our own names when the ecosystem has none for the composition."""
    found = {}
    for line in table(model.config):
        if all(name.endswith(".weight") for name in line.ours):
            maps = tuple(name.removesuffix(".weight") for name in line.ours)
            found |= {name: (maps, line.theirs.removesuffix(".weight")) for name in maps}
    return found
