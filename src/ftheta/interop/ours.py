"""What a model folder says of itself in our own terms, in `ftheta.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.data.processors.processor import Processor

FORMAT = 1
FACTS = "ftheta.json"


def described(config: ArchitectureConfig, task: str, processor: Processor, provenance: Mapping[str, Any], names: str = "ftheta") -> dict[str, Any]:
    """The content of `ftheta.json`; `names` is whose names of parameters the folder uses."""
    return {
        "format": FORMAT, "architecture": config.dump(), "task": task, "processor": processor.dump(), "names": names, "provenance": dict(provenance),
    }
