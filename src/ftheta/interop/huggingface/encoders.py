"""What the BERT-like families of the Hugging Face ecosystem share: norms after the parts, biases, learned positions, and the same heads.

`…ForMaskedLM` is an `encoder`; `…ForPreTraining` and, without its head, `…ForNextSentencePrediction`, `…ForSequenceClassification`, `…ForMultipleChoice`,
`…ForTokenClassification`, `…ForQuestionAnswering` and the bare `…Model` (a sentence embedder with BERT's pooler kept) are a `headed` encoder.
A family can express exactly what reading back what it says gives again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.errors import FolderError
from ftheta.core.log import logger
from ftheta.interop.huggingface.activations import ACTIVATIONS
from ftheta.interop.mapping import Family, Line, numbered

PRETRAINING = "ForPreTraining"
SUFFIXES = {
    "classify": "ForSequenceClassification", "regress": "ForSequenceClassification", "choose": "ForMultipleChoice", "tag": "ForTokenClassification",
    "span": "ForQuestionAnswering", "embed": "Model", "follows": "ForNextSentencePrediction", "replaced": PRETRAINING,
}


class EncoderFamily(Family):
    """One BERT-like family: its names, and the fields in which it differs."""

    kind: ClassVar[str]
    """Its `model_type`, which is also what it calls the trunk inside a model with a head."""
    classes: ClassVar[str]
    """What its classes' names begin with."""
    tables: ClassVar[Mapping[str, str]]
    """Embedding tables of the trunk: ours → theirs."""
    maps: ClassVar[Mapping[str, str]]
    """Parts of the trunk with weight and bias; those that a trunk lacks are left out."""
    masked: ClassVar[Mapping[str, str]]
    """Parts of the masked-language-model head with weight and bias."""
    masked_bias: ClassVar[str]
    """The bias of every token."""
    readouts: ClassVar[Mapping[str, Mapping[str, str]]]
    """Parts of every readout with weight and bias."""
    beside: ClassVar[tuple[str, ...]] = ()
    """Beginnings of names of tensors some files hold twice or that belong to nothing here."""

    @abstractmethod
    def trunk_fields(self, trunk: EncoderConfig, inner: Mapping[str, Any]) -> dict[str, Any] | None:
        """Their fields for a trunk; `inner` holds its numbers. None where it cannot be said."""

    @abstractmethod
    def read_trunk(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of our trunk that differ between families: sizes, `norm`, `heads`, `hidden`, `activation`, `positions`, `segments`."""

    @abstractmethod
    def head_fields(self, readout: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Their fields for a readout."""

    @abstractmethod
    def read_head(self, suffix: str, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """The readout of a class name's ending."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        trunk = config.trunk if isinstance(config, HeadedConfig) else config
        other = isinstance(config, HeadedConfig) and config.readout.kind not in self.readouts
        if not isinstance(trunk, EncoderConfig) or trunk.feedforward is None or len(set(trunk.mixers)) > 1 or other:
            return None
        mixer, feed, norm = trunk.mixers[0].arguments, trunk.feedforward.arguments, trunk.norm.arguments
        inner = {
            "heads": mixer.get("heads", 1), "hidden": feed.get("hidden") or 4 * trunk.dim, "activation": ACTIVATIONS.get(str(feed.get("activation"))),
            "eps": norm.get("eps"), "offset": trunk.positions.arguments.get("offset", 0),
        }
        fields = self.trunk_fields(trunk, inner)
        if fields is None:
            return None
        if isinstance(config, HeadedConfig):
            suffix = SUFFIXES[config.readout.kind] if trunk.head is None else PRETRAINING
            more = self.head_fields(config.readout.kind, config.readout.arguments)
            if config.readout.kind in ("classify", "regress", "tag"):
                count = 1 if config.readout.kind == "regress" else config.classes
                names = {str(i): f"LABEL_{i}" for i in range(count)}
                more |= {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}}
        else:
            suffix, more = "ForMaskedLM", {}
        theirs = {
            "architectures": [self.classes + suffix], "model_type": self.kind, "vocab_size": trunk.vocab, "initializer_range": trunk.std,
            "tie_word_embeddings": True, "dtype": "float32", **fields, **more,
        }
        return theirs if expressible(config) and settled(self.import_config(theirs)) == settled(config) else None

    def import_config(self, theirs: Mapping[str, Any]) -> ArchitectureConfig:
        for field, supported in (("is_decoder", False), ("add_cross_attention", False), ("tie_word_embeddings", True), ("position_embedding_type", "absolute")):
            if theirs.get(field, supported) != supported:
                raise FolderError(f"config.json: {field}: {theirs[field]} is not supported for {self.kind} (supported: {supported})")
        suffix = (theirs.get("architectures") or [f"{self.classes}Model"])[0].removeprefix(self.classes)
        pretraining = [PRETRAINING] if "follows" in self.readouts else []
        known = list(dict.fromkeys(["ForMaskedLM", *(SUFFIXES[kind] for kind in self.readouts), *pretraining]))
        if suffix not in known:
            raise FolderError(f"config.json: architectures: '{self.classes}{suffix}' is not supported (supported: {', '.join(self.classes + name for name in known)})")
        read = self.read_trunk(theirs)
        activation, eps = read.pop("activation"), read.pop("eps")
        trunk = {
            "kind": "encoder", "vocab": theirs["vocab_size"], "norm": {"kind": "layernorm", "eps": eps}, "norm_place": "after", "embed_norm": True,
            "mixer": {"kind": "attention", "heads": read.pop("heads"), "causal": False, "bias": True},
            "feedforward": {"kind": "mlp", "hidden": read.pop("hidden"), "activation": activation, "bias": True},
            "tie": True, "std": theirs.get("initializer_range", 0.02), **read,
        }
        if self.keeps_head(suffix):
            trunk["head"] = {"kind": "transformed", **self.masked_fields(activation, eps)}
        if suffix == "ForMaskedLM":
            return EncoderConfig.parse(trunk)
        labels = theirs.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
        readout = self.read_head(suffix, theirs)
        if readout["kind"] == "classify" and len(labels) == 1:
            readout["kind"] = "regress"
        counts = {"classes": len(labels)} if readout["kind"] in ("classify", "tag") else {}
        return HeadedConfig.parse({"kind": "headed", "trunk": trunk, "readout": readout, **counts})

    def keeps_head(self, suffix: str) -> bool:
        """Whether the trunk of a class has its masked-language-model head."""
        return suffix == "ForMaskedLM" or (suffix == PRETRAINING and "follows" in self.readouts)

    def masked_fields(self, activation: str, eps: float) -> dict[str, Any]:
        """What the masked-language-model head takes from the trunk."""
        return {"activation": activation, "eps": eps, "bias": True}

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        headed = isinstance(config, HeadedConfig)
        trunk = config.trunk if isinstance(config, HeadedConfig) else config
        assert isinstance(trunk, EncoderConfig)
        bare = isinstance(config, HeadedConfig) and config.readout.kind == "embed"
        ours, theirs = "trunk." if headed else "", "" if bare else f"{self.kind}."
        lines = [Line((ours + name,), theirs + other) for name, other in self.tables.items()]
        pairs = [(ours + name, theirs + other) for name, other in self.maps.items() if name != "embed_dense" or trunk.embed_dim]
        if isinstance(config, HeadedConfig):
            pairs += self.readouts[config.readout.kind].items()
        if trunk.head is not None:
            pairs += [(ours + name, other) for name, other in self.masked.items()]
        lines += [Line((f"{name}.{part}",), f"{other}.{part}") for name, other in pairs for part in ("weight", "bias")]
        if trunk.head is not None:
            lines.append(Line((ours + "head.bias",), self.masked_bias))
        return numbered(lines, trunk.depth)

    def tidied(self, values: Mapping[str, Tensor], lines: Sequence[Line]) -> dict[str, Tensor]:
        """Old files call norms' parts gamma and beta, and hold buffers, tied copies and heads of the pre-training."""
        names = {name: name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias") for name in values}
        wanted = {line.theirs for line in lines}
        left = [name for name in values if names[name] not in wanted and (name.startswith(self.beside) or name.endswith("embeddings.position_ids"))]
        if left:
            logger.info("not read, since nothing here uses them: %s", ", ".join(left))
        return {names[name]: value for name, value in values.items() if name not in left}


def expressible(config: ArchitectureConfig) -> bool:
    """Whether its parts are of the kinds these families have at all; whether with the same numbers, reading back shows."""
    trunk = config.trunk if isinstance(config, HeadedConfig) else config
    assert isinstance(trunk, EncoderConfig) and trunk.feedforward is not None
    kinds = (trunk.mixers[0].kind, trunk.feedforward.kind, trunk.norm.kind, trunk.positions.kind)
    return kinds == ("attention", "mlp", "layernorm", "learned") and trunk.feedforward.arguments["activation"] in ACTIVATIONS


def settled(config: ArchitectureConfig) -> ArchitectureConfig:
    """The config with what changes no answer of a trained model at its usual value, and what is left out written out."""
    if isinstance(config, HeadedConfig):
        readout = config.readout.dump()
        if config.readout.kind == "embed":
            readout |= {"pooling": "mean", "normalise": True}                            # they say it elsewhere, or nowhere
        if "dropout" in readout:
            readout["dropout"] = 0.0
        counts = {} if config.readout.kind in ("classify", "tag") else {"classes": 2}
        return config.replace(trunk=settled(config.trunk).dump(), readout=readout, **counts)
    assert isinstance(config, EncoderConfig) and config.feedforward is not None
    feed = config.feedforward.dump()
    return config.replace(feedforward={**feed, "hidden": feed["hidden"] or 4 * config.dim}, zero_outputs=False, embed_std=None, std=0.02, dropout=0.0)
