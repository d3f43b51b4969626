"""What Llama and its relatives share in the Hugging Face ecosystem: rotary positions, root-mean-square norm, gated feedforward; pure renames.

A family says only what is its own. Whether it can say a composition is found by saying it and reading it back: what comes back must be the
same model. `…ForCausalLM` is a `decoder`; `…ForSequenceClassification`, reward models among them, a `headed` decoder that reads the last token.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.config import Part
from ftheta.core.errors import FolderError, FthetaError
from ftheta.interop.fields import Fields
from ftheta.interop.huggingface.activations import ACTIVATIONS, activation_of
from ftheta.interop.huggingface.rope import read_rope, write_rope
from ftheta.interop.mapping import Family, Line, numbered

HIDDEN_ACT = {**ACTIVATIONS, "gelu_tanh": "gelu_pytorch_tanh"}
"""The usual names here; the same function goes by two."""
LAYER, ATTENTION = "model.layers.{i}", "model.layers.{i}.self_attn"
OURS = "layers.{i}.mix.inner"
NAMES = {
    "embed": "model.embed_tokens", "norm": "model.norm", "layers.{i}.mix.before": f"{LAYER}.input_layernorm",
    "layers.{i}.feed.before": f"{LAYER}.post_attention_layernorm",
}
DEFAULTS = {"num_key_value_heads": None, "head_dim": None, "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "default_theta": 10000.0}
"""What Llama's fields mean when `config.json` leaves them out."""
LANGUAGE, CLASSIFIER = "ForCausalLM", "ForSequenceClassification"
INITIAL = ("std", "embed_std", "zero_outputs")
"""Fields that say how training starts, and nothing of what is computed."""

LOSSES = ("balance", "z_loss")
"""Fields of a mixture of experts that only training reads."""


class LlamaShaped(Family):
    """A decoder whose config and tensors are called as Llama's."""

    name: ClassVar[str]
    """Their `model_type`."""
    classes: ClassVar[str]
    """What its classes' names begin with."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """What a field means that `config.json` leaves out, where it is not what it means for Llama."""
    feedforward: ClassVar[str] = "gated"

    @abstractmethod
    def own(self, config: DecoderConfig) -> dict[str, Any]:
        """Their fields for what only this family says."""

    @abstractmethod
    def mixer(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of our attention that only this family says."""

    def feed(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of our feedforward."""
        return {"hidden": theirs["intermediate_size"]}

    def feed_names(self, feed: Part) -> dict[str, str]:
        """Our modules of the feedforward that hold a matrix → theirs."""
        return {f"layers.{{i}}.feed.inner.{name}": f"{LAYER}.mlp.{name}_proj" for name in ("gate", "up", "down")}

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        trunk, more = config, {}
        if isinstance(config, HeadedConfig):
            if config.readout.kind not in ("classify", "regress"):
                return None
            trunk, names = config.trunk, {str(i): f"LABEL_{i}" for i in range(1 if config.readout.kind == "regress" else config.classes)}
            more = {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}}
        if not isinstance(trunk, DecoderConfig) or trunk.kind != "decoder" or trunk.feedforward is None or len(set(trunk.mixers)) > 1:
            return None
        mixer, feed, norm = trunk.mixers[0], trunk.feedforward, trunk.norm
        if (mixer.kind, feed.kind, norm.kind, trunk.positions.kind) != ("attention", self.feedforward, "rmsnorm", "rotary"):
            return None
        heads = mixer.arguments["heads"]
        theirs = {
            "architectures": [self.classes + (CLASSIFIER if more else LANGUAGE)], "model_type": self.name, "vocab_size": trunk.vocab, "hidden_size": trunk.dim,
            "intermediate_size": hidden_width(feed, trunk.dim), "num_hidden_layers": trunk.depth, "num_attention_heads": heads,
            "num_key_value_heads": mixer.arguments["kv_heads"] or heads, "head_dim": mixer.arguments["head_dim"] or trunk.dim // heads,
            "hidden_act": HIDDEN_ACT[feed.arguments["activation"]], "max_position_embeddings": trunk.context, "rms_norm_eps": norm.arguments["eps"],
            **write_rope(trunk.positions, trunk.context), "tie_word_embeddings": trunk.tie, "initializer_range": trunk.std, "dtype": "float32",
            "bos_token_id": None, "eos_token_id": None, **more, **self.own(trunk),
        }
        try:
            back = self.import_config(theirs)
        except FthetaError:                                                               # it has no words for some of it
            return None
        return theirs if said(back) == said(config) else None

    def import_config(self, theirs: Mapping[str, Any]) -> ArchitectureConfig:
        theirs = Fields(theirs, {**DEFAULTS, **self.defaults})
        heads, dim, activation = theirs["num_attention_heads"], theirs["hidden_size"], activation_of(theirs["hidden_act"], "hidden_act", self.name)
        head_dim = theirs["head_dim"] if (theirs["head_dim"] or 0) * heads != dim else None
        mixer = {"kind": "attention", "heads": heads, "kv_heads": theirs["num_key_value_heads"], "head_dim": head_dim, **self.mixer(theirs)}
        trunk = {
            "kind": "decoder", "vocab": theirs["vocab_size"], "dim": dim, "depth": theirs["num_hidden_layers"], "context": theirs["max_position_embeddings"],
            "positions": read_rope(theirs, self.name, theirs["default_theta"]), "norm": {"kind": "rmsnorm", "eps": theirs["rms_norm_eps"]},
            "mixer": mixer, "feedforward": {"kind": self.feedforward, "activation": activation, **self.feed(theirs)},
            "tie": theirs["tie_word_embeddings"], "std": theirs.get("initializer_range", 0.02) or 0.02,
        }
        if not str((theirs.get("architectures") or [""])[0]).endswith(CLASSIFIER):
            return DecoderConfig.parse(trunk)
        labels = theirs.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
        readout = {"kind": "regress" if len(labels) == 1 else "classify", "pooling": "last", "dense": None, "dropout": 0.0, "bias": False}
        counts = {} if len(labels) == 1 else {"classes": len(labels)}
        return HeadedConfig.parse({"kind": "headed", "trunk": {**trunk, "head": None}, "readout": readout, **counts})

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        headed = isinstance(config, HeadedConfig)
        trunk, prefix = (config.trunk, "trunk.") if headed else (config, "")
        assert isinstance(trunk, DecoderConfig)
        mixer, feed = trunk.mixers[0].arguments, trunk.feeding
        names, biases = dict(NAMES), {}
        for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v")):
            names[f"{OURS}.{ours}"] = f"{ATTENTION}.{theirs}_proj"
            if mixer["bias"]:
                biases[f"{OURS}.{ours}"] = f"{ATTENTION}.{theirs}_proj"
            if mixer["qk_norm"] and ours != "value":
                names[f"{OURS}.{ours}_norm"] = f"{ATTENTION}.{theirs}_norm"
        names[f"{OURS}.output"] = f"{ATTENTION}.o_proj"
        if mixer["bias"] if mixer["output_bias"] is None else mixer["output_bias"]:
            biases[f"{OURS}.output"] = f"{ATTENTION}.o_proj"
        matrices = self.feed_names(feed)
        names |= matrices
        if feed.arguments.get("bias"):
            biases |= matrices
        if not trunk.tie and not headed:
            names["head"] = "lm_head"
        lines = [Line((f"{prefix}{ours}.{part}",), f"{theirs}.{part}") for part, table in (("weight", names), ("bias", biases)) for ours, theirs in table.items()]
        return numbered([*lines, Line(("readout.output.weight",), "score.weight")] if headed else lines, trunk.depth)


def hidden_width(feed: Part, dim: int) -> int:
    """The width between a gated feedforward's layers."""
    return feed.arguments["hidden"] or -(-8 * dim // 3 // 32) * 32


def said(config: ArchitectureConfig) -> dict[str, Any]:
    """Everything a config says about what is computed, what it leaves open filled in."""
    if isinstance(config, HeadedConfig):
        trunk = {name: value for name, value in said(config.trunk).items() if name != "tie"}        # of a head that is not there
        counts = {"classes": config.classes} if config.readout.kind == "classify" else {}
        return {"trunk": trunk, "readout": {name: value for name, value in config.readout.dump().items() if name != "dropout"}, **counts}
    assert isinstance(config, DecoderConfig)
    data = {name: value for name, value in config.dump().items() if name not in INITIAL}
    mixer = data["mixer"]
    data["mixer"] = {
        **mixer, "kv_heads": mixer["kv_heads"] or mixer["heads"], "head_dim": mixer["head_dim"] or config.dim // mixer["heads"],
        "output_bias": mixer["bias"] if mixer["output_bias"] is None else mixer["output_bias"],
    }
    feed = {name: value for name, value in data["feedforward"].items() if name not in LOSSES}
    data["feedforward"] = {**feed, "hidden": hidden_width(config.feeding, config.dim)}
    scaling = data["positions"]["scaling"]
    if scaling is not None and "original" in scaling:
        data["positions"] = {**data["positions"], "scaling": {**scaling, "original": scaling["original"] or config.context}}
    return data


def sliding(theirs: Mapping[str, Any], kind: str) -> int | None:
    """The window of a family in which `use_sliding_window` decides, and layers may differ. Raises FolderError when they do."""
    window, layers, first = theirs.get("sliding_window", 4096), theirs.get("layer_types"), theirs.get("max_window_layers", 28)
    if not theirs.get("use_sliding_window") or window is None:
        return None
    field, value = ("layer_types", layers) if layers else ("max_window_layers", first)
    layers = layers or ["sliding_attention" if i >= first else "full_attention" for i in range(theirs["num_hidden_layers"])]
    if len(set(layers)) > 1:
        raise FolderError(f"config.json: {field}: {value} gives some layers a window and others none, which is not supported for {kind}")
    return window if layers[0] == "sliding_attention" else None


def sliding_fields(config: DecoderConfig) -> dict[str, Any]:
    """What `sliding` reads, the same for every layer."""
    window = config.mixers[0].arguments["window"]
    layers = ["full_attention" if window is None else "sliding_attention"] * config.depth
    return {"use_sliding_window": window is not None, "sliding_window": window, "max_window_layers": 0 if window else config.depth, "layer_types": layers}
