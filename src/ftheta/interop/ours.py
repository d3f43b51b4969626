"""What a model folder says of itself in our own terms, in `ftheta.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import Attempt
from ftheta.data.processors.processor import Processor

FORMAT = 1
FACTS = "ftheta.json"


def described(config: ArchitectureConfig, task: str, processor: Processor, provenance: Mapping[str, Any], names: str = "ftheta") -> dict[str, Any]:
    """The content of `ftheta.json`; `names` is whose names of parameters the folder uses."""
    return {
        "format": FORMAT, "architecture": config.dump(), "task": task, "processor": processor.dump(), "names": names, "provenance": dict(provenance),
    }


def write_described(
    attempt: Attempt, config: ArchitectureConfig, theta: Mapping[str, Tensor], task: str, processor: Processor, provenance: Mapping[str, Any],
) -> None:
    """The files of a model folder under our own names."""
    attempt.write("model.safetensors", *tensor_files.pieces(theta, {"format": "pt"}))
    attempt.write_json("config.json", {"model_type": f"ftheta_{config.name}"})
    attempt.write_json(FACTS, described(config, task, processor, provenance))
    for name, data in processor.files().items():
        attempt.write(name, data)
