"""Adapter folders as PEFT writes and reads them: the low-rank changes of a base model, without the model.

`adapter_config.json` says rank, scale and which maps; `adapter_model.safetensors` holds `base_model.model.<map>.lora_A.weight` (rank,
inputs), `.lora_B.weight` (outputs, rank) and, for DoRA, `.lora_magnitude_vector` (outputs,), maps under the ecosystem's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ftheta.adaptation.lora import LoRA, LowRank
from ftheta.architectures.architecture import Architecture
from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import commit
from ftheta.core.errors import FolderError, UsageError
from ftheta.interop.mapping import Line
from ftheta.models.folder import expressed, read_json

PREFIX = "base_model.model."
SUPPORTED = {
    "peft_type": "LORA", "bias": "none", "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "layer_replication": None,
    "lora_bias": False, "trainable_token_indices": None,
}
"""What these fields of `adapter_config.json` must say, when they are there."""


def save_adapter(model: Architecture, adapt: LoRA, folder: Path, base: str) -> Path:
    """Write the low-rank changes inside `model` as a PEFT folder that goes with the model folder `base`, atomically."""
    changes = {name: part for name, part in model.named_modules() if isinstance(part, LowRank)}
    theirs = outside_names(model)
    own = {parameter for change in changes.values() for parameter in change.parameters()}
    if others := [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter not in own]:
        raise UsageError(f"{others[0]} was learned too, so the adapter alone would not be the model: keep the merged model")
    if missing := [name for name in changes if len(theirs.get(name, ((), ""))[0]) != 1]:
        raise UsageError(f"'{model.config.name}' as composed has no name of its own for {missing[0]} in the ecosystem: keep the merged model")
    tensors: dict[str, Tensor] = {}
    for name, change in changes.items():
        place = PREFIX + theirs[name][1]
        tensors |= {f"{place}.lora_A.weight": change.down.detach(), f"{place}.lora_B.weight": change.up.detach()}
        if change.magnitude is not None:
            tensors[f"{place}.lora_magnitude_vector"] = change.magnitude.detach()
    config = {
        **SUPPORTED, "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": adapt.rank, "lora_alpha": adapt.alpha, "lora_dropout": adapt.dropout,
        "use_dora": adapt.magnitude, "target_modules": sorted(theirs[name][1] for name in changes), "fan_in_fan_out": transposed(model, changes),
        "inference_mode": True, "init_lora_weights": True,
    }
    with commit(folder, replace=True) as attempt:
        attempt.write("adapter_model.safetensors", *tensor_files.pieces(tensors, {"format": "pt"}))
        attempt.write_json("adapter_config.json", config)
    return folder


@torch.no_grad()
def merge_adapter(model: Architecture, folder: Path) -> None:
    """Add a PEFT folder's low-rank changes to the model's parameters. Raises FolderError with every problem found."""
    config = read_json(folder / "adapter_config.json")
    for field, supported in SUPPORTED.items():
        if config.get(field, supported) not in (supported, None):
            raise FolderError(f"{folder / 'adapter_config.json'}: {field}: {config[field]} is not supported (supported: {supported})")
    values = tensor_files.read(folder / "adapter_model.safetensors")
    ours = {theirs: names for names, theirs in outside_names(model).values()}
    unknown = [name for name in values if place_of(name) not in ours]
    if unknown:
        raise FolderError(f"{folder / 'adapter_model.safetensors'}: the model has no map for " + ", ".join(sorted(unknown)[:5]))
    scale = float(config["lora_alpha"]) / int(config["r"])
    for place in sorted({place_of(name) for name in values}):
        parts = {part: values.get(f"{PREFIX}{place}.{part}") for part in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")}
        down, up, length = parts.values()
        maps = [model.get_submodule(name) for name in ours[place]]
        weight = torch.cat([part.weight for part in maps])                                    # type: ignore[list-item]
        if down is None or up is None or up.shape[0] != weight.shape[0] or down.shape[1] != weight.shape[1] or up.shape[1] != down.shape[0]:
            shapes = {part: None if value is None else tuple(value.shape) for part, value in parts.items()}
            raise FolderError(f"{folder / 'adapter_model.safetensors'}: {place}: {shapes} do not fit a map of {tuple(weight.shape)}")
        weight = weight + scale * (up @ down).to(weight)
        if length is not None:
            weight = weight * (length.to(weight) / weight.norm(dim=1))[:, None]
        for part, value in zip(maps, weight.split([len(part.weight) for part in maps]), strict=True):       # type: ignore[arg-type]
            part.weight.copy_(value)                                                          # type: ignore[operator, union-attr]


def place_of(name: str) -> str:
    """The map a tensor of an adapter belongs to, under the ecosystem's name."""
    return name.removeprefix(PREFIX).removesuffix(".weight").removesuffix(".lora_A").removesuffix(".lora_B").removesuffix(".lora_magnitude_vector")


def outside_names(model: Architecture) -> dict[str, tuple[tuple[str, ...], str]]:
    """Our map → (all our maps that are one of theirs, their name); under our own names when the ecosystem has none for the composition."""
    lines = table(model)
    found = {}
    for line in lines:
        if all(name.endswith(".weight") for name in line.ours):
            maps = tuple(name.removesuffix(".weight") for name in line.ours)
            found |= {name: (maps, line.theirs.removesuffix(".weight")) for name in maps}
    return found


def transposed(model: Architecture, changes: Mapping[str, Any]) -> bool:
    """Whether the ecosystem stores these maps as (inputs, outputs)."""
    return any(line.transpose for line in table(model) if any(name.removesuffix(".weight") in changes for name in line.ours))


def table(model: Architecture) -> list[Line]:
    outside = expressed(model.config)
    if outside:
        return outside[2]
    with torch.device("meta"):
        plain = model.config.build()
    return [Line((name,), name) for name in plain.theta()]
