"""What a sentence-transformers folder says beside the model: how its vectors are made and how much of a text is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.errors import FolderError

MODULES = "modules.json"
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}


class Sentences(NamedTuple):
    """The config with the readout the folder asks for, and the most tokens of a text, if it says so."""

    config: ArchitectureConfig
    longest: int | None


def read_sentences(folder: Path, config: ArchitectureConfig) -> Sentences | None:
    """What the folder says; None where it is no sentence-transformers folder. Raises FolderError for parts that are not known here."""
    if not (folder / MODULES).exists() or not isinstance(config, HeadedConfig) or config.readout.kind != "embed":
        return None
    modules = contents(folder / MODULES)
    kinds = {str(module.get("type", "")).rsplit(".", 1)[-1]: str(module.get("path", "")) for module in modules}
    if unknown := kinds.keys() - {"Transformer", "Pooling", "Normalize"}:
        raise FolderError(f"{folder / MODULES}: {', '.join(sorted(unknown))} is not supported (supported: Transformer, Pooling, Normalize)")
    pooling, said = "mean", folder / kinds.get("Pooling", "") / "config.json"
    if "Pooling" in kinds and said.exists():
        facts = contents(said)
        flags = [name for name, value in facts.items() if name.startswith("pooling_mode_") and value is True]
        chosen = [facts["pooling_mode"]] if isinstance(facts.get("pooling_mode"), str) else flags
        names = POOLINGS | {"mean": "mean", "cls": "first"}
        if len(chosen) != 1 or chosen[0] not in names:
            raise FolderError(f"{said}: {', '.join(chosen) or 'no pooling mode'} is not supported (supported: {', '.join(POOLINGS)})")
        pooling = names[chosen[0]]
    place = folder / "sentence_bert_config.json"
    longest = contents(place).get("max_seq_length") if place.exists() else None
    readout = {**config.readout.dump(), "pooling": pooling, "normalise": "Normalize" in kinds}
    return Sentences(config.replace(readout=readout), longest)


def contents(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FolderError(f"{path} cannot be read: {error}") from None
