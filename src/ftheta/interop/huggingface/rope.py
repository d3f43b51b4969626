"""Rotary positions in the Hugging Face ecosystem: `rope_parameters`, and `rope_theta` with `rope_scaling` as it was before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftheta.core.config import Part
from ftheta.core.errors import FolderError, suggest

FIELDS = {
    "linear": {"factor": "factor"},
    "dynamic": {"factor": "factor"},
    "llama3": {"factor": "factor", "original": "original_max_position_embeddings", "low": "low_freq_factor", "high": "high_freq_factor"},
    "yarn": {
        "factor": "factor", "original": "original_max_position_embeddings", "fast": "beta_fast", "slow": "beta_slow", "attention": "attention_factor",
        "truncate": "truncate",
    },
}
"""Scaling → our argument → their field."""


def write_rope(positions: Part, context: int) -> dict[str, Any]:
    """Their fields for rotary positions of a model with this context."""
    base, scaling = positions.arguments["base"], positions.arguments["scaling"]
    if scaling is None:
        return {"rope_theta": base, "rope_parameters": {"rope_type": "default", "rope_theta": base}}
    values = {**scaling.arguments, "original": scaling.arguments.get("original") or context}
    written = {theirs: values[ours] for ours, theirs in FIELDS[scaling.kind].items() if values[ours] is not None}
    whole = {"rope_type": scaling.kind, **written}
    return {"rope_theta": base, "rope_scaling": whole, "rope_parameters": {**whole, "rope_theta": base}}


def read_rope(theirs: Mapping[str, Any], kind: str, base: float) -> dict[str, Any]:
    """Our rotary positions for their config. Raises FolderError naming a field that is not supported."""
    now, before = theirs.get("rope_parameters"), theirs.get("rope_scaling")
    place, rope = ("rope_parameters", dict(now)) if now else ("rope_scaling", dict(before or {}))
    base = float(rope.pop("rope_theta", theirs.get("rope_theta") or base))
    scaling = rope.pop("rope_type", rope.pop("type", "default"))
    rope.pop("type", None)
    share = rope.pop("partial_rotary_factor", theirs.get("partial_rotary_factor") or 1.0)
    if share != 1.0:
        raise FolderError(f"config.json: partial_rotary_factor: {share} is not supported for {kind} (supported: 1)")
    if scaling == "default":
        return {"kind": "rotary", "base": base}
    if scaling not in FIELDS:
        raise FolderError(f"config.json: {place}.rope_type: '{scaling}' is not supported{suggest(str(scaling), ['default', *FIELDS])}")
    found = {ours: rope.pop(name) for ours, name in FIELDS[scaling].items() if rope.get(name) is not None}
    rope = {name: value for name, value in rope.items() if value is not None and name != "original_max_position_embeddings"}
    if rope:
        name = sorted(rope)[0]
        raise FolderError(f"config.json: {place}.{name}: {rope[name]} is not supported for {scaling} (supported: {', '.join(FIELDS[scaling].values())})")
    if "factor" not in found:
        raise FolderError(f"config.json: {place}.factor is missing for {scaling}")
    if found.get("original") == theirs["max_position_embeddings"]:
        del found["original"]                                                             # what it is when nothing is said
    numbers = {name: float(value) if name not in ("original", "truncate") else value for name, value in found.items()}
    return {"kind": "rotary", "base": base, "scaling": {"kind": scaling, **numbers}}
