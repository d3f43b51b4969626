"""What the encoder-decoders of the Hugging Face ecosystem share here: one class each (`…ForConditionalGeneration`), an embedding table that both sides
share, and names of parts that are the same on both sides but for a few.

Whether a family can say a composition is found by saying it and reading it back: what comes back must be the same model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.architectures.encoder_decoder import EncoderDecoderConfig
from ftheta.core.config import Part
from ftheta.core.errors import FolderError, FthetaError
from ftheta.core.log import logger
from ftheta.interop.mapping import Family, Line, numbered

INITIAL = ("kind", "std", "embed_std", "zero_outputs")
"""Fields that say how training starts, and nothing of what is computed."""


class EncoderDecoderFamily(Family):
    """One family: its names, and the fields in which it differs."""

    kind: ClassVar[str]
    """Its `model_type`."""
    model: ClassVar[str]
    """Its class."""
    unsupported: ClassVar[Mapping[str, Any]] = {}
    """Their fields that change what is computed in ways there are no words for here → the value that does not."""
    copies: ClassVar[Mapping[str, str]] = {}
    """Tensors that old files hold a second time → what they are copies of."""
    beside: ClassVar[tuple[str, ...]] = ()
    """Names of tensors that follow from the config."""

    @abstractmethod
    def say(self, config: EncoderDecoderConfig) -> dict[str, Any]:
        """Their fields for our config, as far as they have them."""

    @abstractmethod
    def read(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Our config's fields for theirs."""

    @abstractmethod
    def table(self, config: EncoderDecoderConfig) -> tuple[list[Line], list[Line], list[Line]]:
        """The lines of single tensors, of every layer of the encoder, and of every layer of the decoder."""

    def export_config(self, config: ArchitectureConfig) -> dict[str, Any] | None:
        if not isinstance(config, EncoderDecoderConfig) or any(len(set(side.mixers)) > 1 or side.feedforward is None for side in (config, config.trunk)):
            return None
        try:
            theirs = {
                "architectures": [self.model], "model_type": self.kind, "is_encoder_decoder": True, "vocab_size": config.vocab, "d_model": config.dim,
                "dtype": "float32", "bos_token_id": None, "eos_token_id": None, "pad_token_id": None, **self.say(config),
            }
            back = self.import_config(theirs)
        except (FthetaError, KeyError):                                                   # it has no words for some of it
            return None
        return theirs if computed(back) == computed(config) else None

    def import_config(self, theirs: Mapping[str, Any]) -> EncoderDecoderConfig:
        for field, supported in self.unsupported.items():
            if theirs.get(field, supported) != supported:
                raise FolderError(f"config.json: {field}: {theirs[field]} is not supported for {self.kind} (supported: {supported})")
        name = (theirs.get("architectures") or [self.model])[0]
        if name != self.model:
            raise FolderError(f"config.json: architectures: '{name}' is not supported for {self.kind} (supported: {self.model})")
        return EncoderDecoderConfig.parse({"kind": "encoder_decoder", "vocab": theirs["vocab_size"], "dim": theirs["d_model"], **self.read(theirs)})

    def lines(self, config: ArchitectureConfig) -> Sequence[Line]:
        assert isinstance(config, EncoderDecoderConfig)
        single, encoder, decoder = self.table(config)
        return [*single, *numbered(encoder, config.trunk.depth), *numbered(decoder, config.depth)]

    def tidied(self, values: Mapping[str, Tensor], lines: Sequence[Line]) -> dict[str, Tensor]:
        same = [name for name, other in self.copies.items() if name in values and other in values and torch.equal(values[name], values[other])]
        left = [*same, *(name for name in values if name in self.beside)]
        if left:
            logger.info("not read, since it follows from the rest: %s", ", ".join(left))
        return {name: value for name, value in values.items() if name not in left}


def width(feed: Part, dim: int) -> int:
    """The width between a feedforward's layers."""
    return feed.arguments["hidden"] or (4 * dim if feed.kind == "mlp" else -(-8 * dim // 3 // 32) * 32)


def computed(config: EncoderDecoderConfig) -> dict[str, Any]:
    """Everything a config says about what is computed, both sides and what it leaves open filled in."""
    sides = {"decoder": config, "encoder": config.trunk}
    found = {name: value for name, value in config.dump().items() if name not in (*INITIAL, "encoder", "cross", "mixer", "feedforward", "depth")}
    for name, side in sides.items():
        feed = side.feeding
        found[name] = {"depth": side.depth, "mixer": heads(side.mixers[0], side.dim), "feedforward": {**feed.dump(), "hidden": width(feed, side.dim)}}
    return {**found, "cross": heads(config.crossing, config.dim)}


def heads(mixer: Part, dim: int) -> dict[str, Any]:
    """An attention's arguments with what they leave open filled in."""
    data, size = mixer.dump(), mixer.arguments["head_dim"] or dim // mixer.arguments["heads"]
    data |= {"kv_heads": data["kv_heads"] or data["heads"], "head_dim": size, "scale": size**-0.5 if data["scale"] is None else data["scale"]}
    return {**data, "output_bias": data["bias"] if data["output_bias"] is None else data["output_bias"]}
