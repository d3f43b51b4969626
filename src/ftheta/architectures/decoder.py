"""Decoder-only sequence model, p(x_t | x_<t). GPT-2 and Llama are presets of this file; so is an LSTM language model.

Notable: the parts of a layer are slots (norm, mixer, feedforward), positions are a slot, documents packed into one row do not see
each other, the head may share the embedding table, logits are computed only when read.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.blocks import FEEDFORWARDS, MIXERS, NORMS, POSITIONS, VOCABULARY_HEADS
from ftheta.blocks.context import Cache, Context, document_positions
from ftheta.blocks.initialise import normal, uniform
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.residual import Residual
from ftheta.blocks.virtual import Prefix, SoftPrompt
from ftheta.core.config import Part, Slot, from_data, slot
from ftheta.core.contract import Ports


class DecoderConfig(ArchitectureConfig):
    """Sizes and parts of a decoder."""

    kind: Literal["decoder"] = "decoder"
    vocab: int = from_data("V")
    """Number of tokens the model knows."""
    dim: int = Field(default=768, gt=0)
    """Width of the residual stream."""
    depth: int = Field(default=12, gt=0)
    """Number of layers."""
    context: int = from_data("T", 1024)
    """Longest sequence, in tokens."""
    positions: Annotated[Part, Slot(POSITIONS)] = slot("learned")
    """How the model knows where a token stands."""
    norm: Annotated[Part, Slot(NORMS)] = slot("layernorm")
    """The norm of every part of a layer and, when it stands before them, of what the last layer gives."""
    norm_place: Literal["before", "after"] = "before"
    """Where the norm stands: before every part of a layer (GPT-2 and later), or after adding what the part gives (BERT)."""
    mixer: Annotated[Part, Slot(MIXERS)] = slot("attention", heads=12)
    """How tokens exchange information."""
    feedforward: Annotated[Part, Slot(FEEDFORWARDS)] = slot("mlp")
    """What is computed at each token by itself."""
    head: Annotated[Part, Slot(VOCABULARY_HEADS)] | None = slot("linear")
    """How hidden states become logits of tokens; none: the model gives hidden states only."""
    tie: bool = True
    """Whether the head shares the embedding table."""
    embed_norm: bool = False
    """Whether embedded tokens, with their positions if these are added, are normalised before the first layer."""
    value_embed: bool = False
    """Whether every layer's values get a learned vector of the token itself (modded-nanogpt's value embeddings): more parameters, hardly more work."""
    zero_outputs: bool = False
    """Start every layer as the identity: output projections at zero (and an untied head at zero)."""
    std: float = Field(default=0.02, gt=0)
    """Standard deviation of initial weights."""
    embed_std: float | None = Field(default=None, gt=0)
    """Standard deviation of the embedding table, when it differs from `std`."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of residual updates dropped in training."""
    softcap: float | None = Field(default=None, gt=0)
    """Bound on logits, c·tanh(z/c)."""

    @property
    def plain(self) -> bool:
        """Whether it is wired as GPT-2 and its heirs: norms before the parts, logits straight from the hidden states."""
        return self.norm_place == "before" and self.head is not None and self.head.dump() == {"kind": "linear", "bias": False}

    def ports(self) -> Ports:
        gives = {"hidden": "real B T D", **({} if self.head is None else {"logits": "logits B T V"})}
        takes = {"tokens": "ids B T", "documents?": "ids B T"}
        parts = self.mixer.traits | self.feedforward.traits
        if "auxiliary" in parts:
            takes["counted?"] = "mask B T"
            gives["auxiliary"] = "loss B"
        return Ports(takes=takes, gives=gives, sizes={"V": self.vocab, "T": self.context}, traits=parts - {"auxiliary"} | {"gradients"})

    def build(self) -> Decoder:
        return Decoder(self)


class Decoder(Architecture):
    """tokens (B, T) → hidden (B, T, D), logits (B, T, V), and where parts add something to the loss auxiliary (B,).

    `counted` (B, T) says which tokens the loss is about; parts that add to it ask (none: all of them).
    """

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config: DecoderConfig = config
        dim = config.dim
        self.embed = nn.Embedding(config.vocab, dim)
        self.layers = nn.ModuleList(self.layer() for _ in range(config.depth))
        self.positions = config.positions.build(dim=dim, context=config.context, head_dim=self.mixer().head_dim)
        self.embed_norm = config.norm.build(dim=dim) if config.embed_norm else None
        self.value_embeds = nn.ModuleList(nn.Embedding(config.vocab, self.value_dim()) for _ in self.layers) if config.value_embed else None
        self.norm = config.norm.build(dim=dim) if config.norm_place == "before" else None
        weight = self.embed.weight if config.tie else None
        self.head = config.head.build(dim=dim, vocab=config.vocab, weight=weight, softcap=config.softcap) if config.head else None
        self.virtual: SoftPrompt | Prefix | None = None
        """Learned tokens that an adaptation has added."""

    def mixer(self) -> Mixer:
        """The first layer's mixer."""
        inner = self.get_submodule("layers.0.mix.inner")
        assert isinstance(inner, Mixer)
        return inner

    def value_dim(self) -> int:
        width = self.mixer().value_dim
        if width is None:
            raise ValueError(f"value_embed: mixer '{self.config.mixer.kind}' has no values to add to; leave it out or choose attention")
        return width

    def layer(self) -> nn.Module:
        return Layer(mix=self.residual(self.config.mixer), feed=self.residual(self.config.feedforward))

    def residual(self, part: Part) -> Residual:
        config = self.config
        inner, norm = part.build(dim=config.dim), config.norm.build(dim=config.dim)
        if config.norm_place == "after":
            return Residual(inner, after=norm, dropout=config.dropout)
        return Residual(inner, before=norm, dropout=config.dropout)

    def forward(self, tokens: Tensor, documents: Tensor | None = None, cache: Cache | None = None, counted: Tensor | None = None) -> Outputs:
        return self.read(tokens, documents, cache, counted)

    def read(self, tokens: Tensor, documents: Tensor | None, cache: Cache | None, counted: Tensor | None, segments: Tensor | None = None) -> Outputs:
        """What the model gives for rows of tokens, with the learned tokens it has."""
        layout, after = None, 0
        if isinstance(self.virtual, SoftPrompt) and (cache is None or not cache.length):  # what is remembered begins with the vectors already
            layout = self.virtual.layout(tokens, documents)
            tokens, documents, counted, segments = (
                layout.spread(tokens, 0), layout.spread_documents(documents), layout.spread(counted, False), layout.spread(segments, 0),
            )                                                                             # type: ignore[assignment]
        elif isinstance(self.virtual, Prefix):
            after = self.virtual.count
        positions = self.position_of(tokens, documents, cache)
        context = Context(positions + after if after else positions, documents, cache, counted=counted, layout=layout)
        return self.outputs(tokens, context, self.added(tokens, segments))

    def added(self, tokens: Tensor, segments: Tensor | None) -> Tensor | None:
        """(B, T, D) that goes to the embedded tokens."""
        return None

    @property
    def room(self) -> int | None:
        return self.config.context - (0 if self.virtual is None else self.virtual.count)

    def outputs(self, tokens: Tensor, context: Context, added: Tensor | None = None) -> Outputs:
        """What the model gives; `added` (B, T, D) goes to the embedded tokens."""
        hidden, head = self.trunk(tokens, context, added), self.head
        ready = {"hidden": hidden}
        if context.auxiliary:
            ready["auxiliary"] = torch.stack(context.auxiliary).sum(0)
        return Outputs(ready, lazy={} if head is None else {"logits": lambda: head(hidden)})

    def trunk(self, tokens: Tensor, context: Context, added: Tensor | None = None) -> Tensor:
        """hidden (B, T, D) after the last norm; the cache remembers these tokens."""
        documents, cache = context.documents, context.cache
        hidden = self.embed(tokens).to(self.compute_dtype)
        if context.layout is not None and isinstance(self.virtual, SoftPrompt):
            hidden = context.layout.fill(hidden, self.virtual.weight)
        if added is not None:
            hidden = hidden + added.to(hidden.dtype)
        hidden = self.positions(hidden, context)
        if self.embed_norm is not None:
            hidden = self.embed_norm(hidden)
        self.mixer().prepare(tokens.shape[1], hidden.dtype, context)
        prefixes = self.virtual() if isinstance(self.virtual, Prefix) else None
        for i, layer in enumerate(self.layers):
            if self.value_embeds is not None:
                context.values = self.value_embeds[i](tokens).to(hidden.dtype)
            if prefixes is not None:
                context.prefix = prefixes[i]
            hidden = layer(hidden, context)
        if cache is not None:
            cache.length += tokens.shape[1]
            if documents is not None:
                cache.documents = documents if cache.documents is None else torch.cat([cache.documents, documents], dim=1)
        if context.layout is not None:
            hidden = context.layout.tokens(hidden)
        return hidden if self.norm is None else self.norm(hidden)

    def position_of(self, tokens: Tensor, documents: Tensor | None, cache: Cache | None) -> Tensor:
        """(1 or B, T): from 0 in every document; after what the cache remembers when generating."""
        if documents is None:
            start = cache.length if cache else 0
            return torch.arange(start, start + tokens.shape[1], device=tokens.device)[None]
        if cache is None or cache.documents is None:
            return document_positions(documents)
        return document_positions(torch.cat([cache.documents, documents], dim=1))[:, -tokens.shape[1] :]

    def initialise(self, seed: int) -> None:
        """N(0, std²) everywhere, output projections shrunk by sqrt(2·depth) (GPT-2; not when norms come after) or zero; recurrent cells U(±1/sqrt(hidden))."""
        config = self.config
        shrink = math.sqrt(2 * config.depth) if config.norm_place == "before" else 1.0
        for name, parameter in self.named_parameters():
            if ".rnn." in name:
                uniform(parameter, parameter.shape[0] ** -0.5 * 2, seed, name)
            elif parameter.ndim < 2:
                parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name.endswith(("output.weight", "down.weight")):
                normal(parameter, 0.0 if config.zero_outputs else config.std / shrink, seed, name)
            elif name == "embed.weight":
                normal(parameter, config.embed_std or config.std, seed, name)
            elif name.startswith("value_embeds") or (name == "head.weight" and config.zero_outputs):
                parameter.data.zero_()
            else:
                normal(parameter, config.std, seed, name)

    def compiled_parts(self) -> list[nn.Module]:
        return list(self.layers)


class Layer(nn.Module):
    """A mixer and a feedforward, each in its residual."""

    def __init__(self, mix: Residual, feed: Residual):
        super().__init__()
        self.mix = mix
        self.feed = feed

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        return self.feed(self.mix(hidden, context), context)
