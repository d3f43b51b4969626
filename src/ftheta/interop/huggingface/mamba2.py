"""Mamba-2 in the Hugging Face ecosystem (Dao & Gu 2024, arXiv:2405.21060): layers that are a state-space mixer alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import FolderError
from ftheta.interop.mapping import Family, Line, numbered

CONTEXT = 1 << 20
"""Longest sequence of a model that says none: what it remembers does not grow."""
LAYER = "backbone.layers.{i}"
OURS = "layers.{i}.mix.inner"
NAMES = {
    "embed.weight": "backbone.embeddings.weight", "norm.weight": "backbone.norm_f.weight", "layers.{i}.mix.before.weight": f"{LAYER}.norm.weight",
    f"{OURS}.input.weight": f"{LAYER}.mixer.in_proj.weight", f"{OURS}.output.weight": f"{LAYER}.mixer.out_proj.weight",
    f"{OURS}.kernel_weight": f"{LAYER}.mixer.conv1d.weight", f"{OURS}.step": f"{LAYER}.mixer.dt_bias", f"{OURS}.rate": f"{LAYER}.mixer.A_log",
    f"{OURS}.skip": f"{LAYER}.mixer.D", f"{OURS}.norm_weight": f"{LAYER}.mixer.norm.weight",
}
UNLIMITED = [0.0, math.inf], [0.0, {"__float__": "Infinity"}]
"""How files say that a step may have any size."""
INITIAL = ("std", "embed_std", "zero_outputs", "context")
"""Fields of ours that say nothing of what is computed."""


class Mamba2(Family):
    """State-space mixers, root-mean-square norm before each, no positions and no feedforward."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, DecoderConfig) or config.kind != "decoder" or len(set(config.mixers)) > 1:
            return None
        mixer = config.mixers[0]
        if mixer.kind != "ssm" or config.norm.kind != "rmsnorm":
            return None
        arguments = mixer.arguments
        head_dim = arguments["head_dim"] or 2 * config.dim // arguments["heads"]
        expand, rest = divmod(arguments["heads"] * head_dim, config.dim)
        theirs = {
            "architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "vocab_size": config.vocab, "hidden_size": config.dim, "expand": expand,
            "num_hidden_layers": config.depth, "num_heads": arguments["heads"], "head_dim": head_dim, "state_size": arguments["state"],
            "n_groups": arguments["groups"], "conv_kernel": arguments["kernel"], "use_conv_bias": arguments["kernel_bias"], "use_bias": arguments["bias"],
            "layer_norm_epsilon": arguments["eps"], "hidden_act": "silu", "tie_word_embeddings": config.tie, "initializer_range": config.std,
            "dtype": "float32", "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
        }
        return theirs if not rest and said(self.import_config(theirs)) == said(config) else None

    def import_config(self, theirs: Mapping[str, Any]) -> DecoderConfig:
        for field, supported in (("hidden_act", ["silu"]), ("time_step_limit", UNLIMITED)):
            if (found := theirs.get(field, supported[0])) not in supported:
                raise FolderError(f"config.json: {field}: {found} is not supported for mamba2 (supported: {supported[0]})")
        heads, head_dim, dim = theirs["num_heads"], theirs["head_dim"], theirs["hidden_size"]
        eps = theirs.get("layer_norm_epsilon", 1e-5)
        mixer = {
            "kind": "ssm", "heads": heads, "head_dim": head_dim if heads * head_dim != 2 * dim else None, "state": theirs["state_size"],
            "groups": theirs["n_groups"], "kernel": theirs["conv_kernel"], "kernel_bias": theirs.get("use_conv_bias", True),
            "bias": theirs.get("use_bias", False), "eps": eps,
        }
        return DecoderConfig.parse({
            "kind": "decoder", "vocab": theirs["vocab_size"], "dim": dim, "depth": theirs["num_hidden_layers"], "context": CONTEXT, "positions": "none",
            "norm": {"kind": "rmsnorm", "eps": eps}, "mixer": mixer, "feedforward": None, "tie": theirs.get("tie_word_embeddings", False),
            "std": theirs.get("initializer_range", 0.02) or 0.02,
        })

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        assert isinstance(config, DecoderConfig)
        arguments, names = config.mixers[0].arguments, dict(NAMES)
        if arguments["kernel_bias"]:
            names[f"{OURS}.kernel_bias"] = f"{LAYER}.mixer.conv1d.bias"
        if arguments["bias"]:
            names |= {f"{OURS}.{ours}.bias": f"{LAYER}.mixer.{theirs}.bias" for ours, theirs in (("input", "in_proj"), ("output", "out_proj"))}
        if not config.tie:
            names["head.weight"] = "lm_head.weight"
        return numbered([Line((ours,), theirs) for ours, theirs in names.items()], config.depth)


def said(config: DecoderConfig) -> dict[str, Any]:
    """Everything a config says about what is computed, what it leaves open filled in."""
    data = {name: value for name, value in config.dump().items() if name not in INITIAL}
    mixer = config.mixers[0].arguments
    return {**data, "mixer": {**data["mixer"], "head_dim": mixer["head_dim"] or 2 * config.dim // mixer["heads"]}}
