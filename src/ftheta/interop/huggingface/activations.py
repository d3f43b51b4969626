"""What the Hugging Face ecosystem calls activations."""

from __future__ import annotations

from ftheta.core.errors import FolderError, suggest

ACTIVATIONS = {
    "gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "relu2": "relu2", "silu": "silu", "hard_silu": "hardswish", "relu6": "relu6", "tanh": "tanh",
}
"""Our names → theirs."""
READ = {theirs: ours for ours, theirs in ACTIVATIONS.items()} | {"gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "swish": "silu"}
"""Their names → ours; some have several."""


def activation_of(theirs: str, field: str, kind: str) -> str:
    """Our name of their activation. Raises FolderError naming the field."""
    if theirs not in READ:
        raise FolderError(f"config.json: {field}: '{theirs}' is not supported for {kind}{suggest(theirs, READ)}")
    return READ[theirs]
