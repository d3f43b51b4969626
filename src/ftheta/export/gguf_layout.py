"""What GGUF calls the sizes and tensors of the decoders it is written for, family by family: the table both the writer and the reader follow.

llama.cpp turns neighbouring pairs of a head's numbers where the ecosystem turns the two halves of it, so queries and keys of Llama's kind are stored with their
rows in another order; GPT-2's matrices are stored as maps (outputs, inputs), the ecosystem's as products (inputs, outputs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.interop import FAMILIES
from ftheta.interop.mapping import Family, to_ours, to_theirs
from ftheta.models.outside import expressed


class Field(NamedTuple):
    """A size under GGUF's name (after the architecture's) and in the ecosystem's `config.json`."""

    gguf: str
    theirs: str


LLAMA = (
    Field("context_length", "max_position_embeddings"), Field("embedding_length", "hidden_size"), Field("block_count", "num_hidden_layers"),
    Field("feed_forward_length", "intermediate_size"), Field("attention.head_count", "num_attention_heads"),
    Field("attention.head_count_kv", "num_key_value_heads"), Field("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    Field("attention.key_length", "head_dim"), Field("attention.value_length", "head_dim"), Field("rope.dimension_count", "head_dim"),
    Field("rope.freq_base", "rope_theta"), Field("vocab_size", "vocab_size"),
)
GPT2 = (
    Field("context_length", "n_positions"), Field("embedding_length", "n_embd"), Field("block_count", "n_layer"), Field("feed_forward_length", "n_inner"),
    Field("attention.head_count", "n_head"), Field("attention.layer_norm_epsilon", "layer_norm_epsilon"), Field("vocab_size", "vocab_size"),
)
ARCHITECTURES = {"gpt2": ("gpt2", GPT2), "llama": ("llama", LLAMA), "mistral": ("llama", LLAMA), "qwen2": ("qwen2", LLAMA), "qwen3": ("qwen3", LLAMA)}
"""Outside family → GGUF's architecture and its sizes."""
NAMES = {
    "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm", "model.embed_tokens": "token_embd",
    "model.norm": "output_norm", "lm_head": "output",
    "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
"""The ecosystem's module, without what stands before it in a layer → GGUF's."""


def reasons(config: ArchitectureConfig) -> list[str]:
    """Why GGUF, as llama.cpp reads it, cannot say this model; empty when it can."""
    outside = expressed(config)
    if outside is None or outside[0] not in ARCHITECTURES:
        return [f"GGUF is written here for decoders of the shape of {', '.join(ARCHITECTURES)}"]
    name, theirs, lines = outside
    if theirs["architectures"][0].endswith("ForSequenceClassification"):
        return ["it classifies, and GGUF is written here for models that write"]
    window = theirs.get("sliding_window")
    if window is not None and window < config.ports().sizes["T"]:
        return [f"llama.cpp reads '{name}' without a window, and this model has one of {window}"]
    scaling = (theirs.get("rope_scaling") or {}).get("rope_type")
    if scaling not in (None, "linear"):
        return [f"rotary scaling '{scaling}' is not written here (linear is)"]
    activation = theirs.get("hidden_act") or theirs.get("activation_function")
    if activation not in (("gelu_new",) if name == "gpt2" else ("silu",)):
        return [f"llama.cpp computes '{name}' with one activation, and this model has {activation}"]
    biased = [line.theirs for line in lines if line.theirs.endswith(".bias") and (".o_proj" in line.theirs or ".mlp." in line.theirs)]
    if ARCHITECTURES[name][0] == "llama" and theirs.get("mlp_bias"):
        return []
    return [f"llama.cpp reads no {biased[0]}"] if biased and name == "qwen3" else []


def written(config: ArchitectureConfig, theta: Mapping[str, Tensor]) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """GGUF's architecture, its sizes and its tensors for our parameters."""
    outside = expressed(config)
    assert outside is not None
    family, theirs, lines = outside
    name, sizes = ARCHITECTURES[family]
    said = {f"{name}.{field.gguf}": theirs[field.theirs] for field in sizes if theirs.get(field.theirs) is not None}
    if family == "gpt2":
        said["gpt2.feed_forward_length"] = theirs["n_inner"] or 4 * theirs["n_embd"]
    if theirs.get("rope_scaling"):
        said |= {f"{name}.rope.scaling.type": "linear", f"{name}.rope.scaling.factor": float(theirs["rope_scaling"]["factor"])}
    return name, said, {gguf_name(key): stored(name, key, value, theirs) for key, value in to_theirs(lines, theta).items()}


def read(name: str, said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[ArchitectureConfig, dict[str, Tensor]]:
    """Our config and parameters for what a file says."""
    family_name = name if name in ARCHITECTURES else "llama"
    theirs: dict[str, Any] = {field.theirs: said[f"{name}.{field.gguf}"] for field in ARCHITECTURES[family_name][1] if f"{name}.{field.gguf}" in said}
    theirs |= {"vocab_size": len(tensors["token_embd.weight"]), "tie_word_embeddings": "output.weight" not in tensors or name == "gpt2"}
    if f"{name}.rope.scaling.factor" in said:
        theirs["rope_scaling"] = {"rope_type": "linear", "factor": said[f"{name}.rope.scaling.factor"]}
    theirs |= {"attention_bias": "blk.0.attn_q.bias" in tensors, "mlp_bias": "blk.0.ffn_gate.bias" in tensors}
    family: Family = FAMILIES.load(family_name)()
    config = family.import_config(theirs)
    lines = list(family.lines(config))
    values = {line.theirs: restored(name, line.theirs, tensors[gguf_name(line.theirs)], theirs) for line in lines if gguf_name(line.theirs) in tensors}
    with torch.device("meta"):
        wanted = config.build().theta()
    return config, to_ours(lines, values, wanted)


def gguf_name(theirs: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` → `blk.3.ffn_up.weight`."""
    module, _, part = theirs.rpartition(".")
    for prefix in ("model.layers.", "transformer.h."):
        if module.startswith(prefix):
            layer, _, inner = module.removeprefix(prefix).partition(".")
            return f"blk.{layer}.{NAMES[inner]}.{part}"
    return f"{NAMES[module]}.{part}"


def stored(architecture: str, name: str, value: Tensor, theirs: Mapping[str, Any]) -> Tensor:
    """One of the ecosystem's tensors as GGUF has it."""
    if architecture == "gpt2":
        return value.t().contiguous() if ".c_" in name and value.ndim == 2 else value
    if architecture == "llama" and (heads := turned(name, theirs)):
        return value.view(heads, 2, -1, *value.shape[1:]).transpose(1, 2).reshape(value.shape)
    return value


def restored(architecture: str, name: str, value: Tensor, theirs: Mapping[str, Any]) -> Tensor:
    """The other way."""
    if architecture == "gpt2":
        return value.t().contiguous() if ".c_" in name and value.ndim == 2 else value
    if architecture == "llama" and (heads := turned(name, theirs)):
        return value.view(heads, -1, 2, *value.shape[1:]).transpose(1, 2).reshape(value.shape)
    return value


def turned(name: str, theirs: Mapping[str, Any]) -> int:
    """How many heads a tensor of queries or keys is of; 0 for others."""
    return theirs["num_attention_heads"] if ".q_proj." in name else theirs["num_key_value_heads"] if ".k_proj." in name else 0
