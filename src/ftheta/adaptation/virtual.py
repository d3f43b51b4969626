"""Adaptations that leave the model as it is and learn a few tokens that stand before every text: a soft prompt (Lester et al. 2021,
arXiv:2104.08691), or a prefix of keys and values for every layer (Li & Liang 2021, arXiv:2101.00190).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field

from ftheta.adaptation.adaptation import Adaptation, freeze, release
from ftheta.architectures.architecture import Architecture
from ftheta.architectures.decoder import Decoder
from ftheta.architectures.encoder_decoder import EncoderDecoder
from ftheta.architectures.headed import Headed
from ftheta.blocks.attention import Attention
from ftheta.blocks.initialise import normal
from ftheta.blocks.virtual import Prefix, SoftPrompt
from ftheta.core.errors import ConfigError, Problem
from ftheta.core.random import generator


class VirtualTokens(Adaptation):
    """Learned tokens before every text; everything else stays, but for a readout, which is new with the model."""

    tokens: int = Field(default=20, gt=0)
    """How many."""

    @property
    def in_front(self) -> int:
        return self.tokens

    def apply(self, model: Architecture, seed: int) -> None:
        reader = reader_of(model)
        if reader is None:
            raise ConfigError([Problem(("adapt",), f"'{model.config.name}' reads no tokens: choose full, last_layers or lora")])
        freeze(model.parameters())
        release(parameter for name, parameter in model.named_parameters() if name.split(".")[0] == "readout")
        reader.virtual = self.learned(reader, seed)

    def finish(self, model: Architecture, original: Callable[[], Architecture] | None = None) -> None:
        reader = reader_of(model)
        assert reader is not None
        reader.virtual = None

    @abstractmethod
    def learned(self, reader: Decoder, seed: int) -> SoftPrompt | Prefix:
        """The tokens as they are before training. Raises ConfigError for a model they do not fit."""


class PromptTuning(VirtualTokens):
    """Vectors that are read as if they were embedded tokens."""

    kind: Literal["soft_prompt"] = "soft_prompt"
    begin: Literal["vocabulary", "normal"] = "vocabulary"
    """What they are before training: embeddings of random tokens, or random numbers like the model's initial ones."""

    def learned(self, reader: Decoder, seed: int) -> SoftPrompt:
        if reader.value_embeds is not None:
            raise ConfigError([Problem(("adapt",), "the model looks values up by token (value_embed), and vectors are no tokens: choose prefix or lora")])
        prompt = SoftPrompt(self.tokens, reader.config.embed_width).to(reader.embed.weight)
        if self.begin == "normal":
            normal(prompt.weight, reader.config.std, seed, "soft prompt")
        else:
            rows = torch.randint(reader.config.vocab, (self.tokens,), generator=generator(seed, "soft prompt"))
            prompt.weight.data.copy_(reader.embed.weight.detach()[rows.to(reader.embed.weight.device)])
        return prompt


class PrefixTuning(VirtualTokens):
    """Keys and values that every token of every layer may look at."""

    kind: Literal["prefix"] = "prefix"
    hidden: int | None = Field(default=None, gt=0)
    """Width of the map of two layers that makes them from smaller vectors while they are learned; none: they are learned themselves."""

    def learned(self, reader: Decoder, seed: int) -> Prefix:
        mixers = [part for part in reader.modules() if isinstance(part, Attention)]
        if len(mixers) != len(reader.layers) or len({(mixer.kv_heads, mixer.value_dim) for mixer in mixers}) > 1:
            raise ConfigError([Problem(("adapt",), "a prefix is keys and values of attention, alike in every layer, which the model does not have: choose soft_prompt or lora")])
        heads = mixers[0].kv_heads
        prefix = Prefix(self.tokens, len(mixers), heads, (mixers[0].value_dim or 0) // heads, self.hidden).to(reader.embed.weight)
        for name, parameter in prefix.named_parameters():
            if name.endswith("bias"):
                parameter.data.zero_()
            else:
                normal(parameter, 1.0 if self.hidden and name == "weight" else reader.config.std, seed, "prefix", name)
        return prefix


def reader_of(model: Architecture) -> Decoder | None:
    """The part of a model that reads tokens: itself, or its trunk."""
    part = model.trunk if isinstance(model, Headed) else model
    return part if isinstance(part, Decoder) and not isinstance(part, EncoderDecoder) else None
