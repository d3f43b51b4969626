"""Decoder-only sequence model, p(x_t | x_<t). GPT-2 and Llama are presets of this file; so is an LSTM language model.

Notable: the parts of a layer are slots (norm, mixer, feedforward), positions are a slot, documents packed into one row do not see
each other, the head may share the embedding table, logits are computed only when read.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.blocks import FEEDFORWARDS, MIXERS, NORMS, POSITIONS, VOCABULARY_HEADS
from ftheta.blocks.context import Cache, Context
from ftheta.blocks.documents import document_positions
from ftheta.blocks.initialise import normal
from ftheta.blocks.linear import Linear
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.paged import PagedCache
from ftheta.blocks.residual import Residual
from ftheta.blocks.virtual import Prefix, SoftPrompt
from ftheta.core.config import Cycle, Part, Slot, from_data, slot
from ftheta.core.contract import Ports


class DecoderConfig(ArchitectureConfig):
    """Sizes and parts of a decoder."""

    kind: Literal["decoder"] = "decoder"
    vocab: int = from_data("V")
    """Number of tokens the model knows."""
    dim: int = Field(default=768, gt=0)
    """Width of the residual stream."""
    embed_dim: int | None = Field(default=None, gt=0)
    """Width of the embedding table, where it is not `dim`: a dense layer brings embedded tokens to `dim` (ALBERT, Lan et al. 2019; ELECTRA, Clark et al. 2020)."""
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
    residual: bool = True
    """Whether what a part gives is added to what it was given; otherwise it takes its place, as in plain stacks of recurrent layers."""
    mixer: Annotated[Part | tuple[Part, ...], Cycle(MIXERS)] = slot("attention", heads=12)
    """How tokens exchange information; a list is gone through again and again, a layer each."""
    feedforward: Annotated[Part, Slot(FEEDFORWARDS)] | None = slot("mlp")
    """What is computed at each token by itself; none: a layer is its mixer alone."""
    head: Annotated[Part, Slot(VOCABULARY_HEADS)] | None = slot("linear")
    """How hidden states become logits of tokens; none: the model gives hidden states only."""
    tie: bool = True
    """Whether the head shares the embedding table."""
    scale_embed: bool = False
    """Whether embedded tokens are multiplied by the square root of their width before anything else (Vaswani et al. 2017)."""
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

    @model_validator(mode="after")
    def something_passes(self) -> Self:
        if self.zero_outputs and not self.residual:
            raise ValueError("zero_outputs: layers that begin at zero let nothing through with residual: false; leave one of the two out")
        if self.tie and self.head is not None and self.embed_width != self.dim and not self.head.cls.resizes:
            raise ValueError(
                f"tie: the embedding table is {self.embed_width} wide (embed_dim), hidden states {self.dim}: choose head 'transformed', which brings them to "
                "its width, or tie: false"
            )
        return self

    @property
    def embed_width(self) -> int:
        """Width of the embedding table."""
        return self.embed_dim or self.dim

    @property
    def mixers(self) -> tuple[Part, ...]:
        """The mixer of every layer."""
        cycle = (self.mixer,) if isinstance(self.mixer, Part) else self.mixer
        return tuple(cycle[i % len(cycle)] for i in range(self.depth))

    @property
    def traits(self) -> frozenset[str]:
        """What the parts promise together: causal are layers that all are."""
        mixers = [part.traits for part in self.mixers]
        return frozenset().union(*(traits - {"causal"} for traits in mixers), self.feedforward.traits if self.feedforward else (), mixers[0].intersection(*mixers))

    @property
    def feeding(self) -> Part:
        """The feedforward of layers that have one."""
        if self.feedforward is None:
            raise ValueError("the layers have no feedforward")
        return self.feedforward

    @property
    def plain(self) -> bool:
        """Whether it is wired as GPT-2 and its heirs: norms before the parts, logits straight from the hidden states, embeddings as they are."""
        straight = self.head is not None and self.head.dump() == {"kind": "linear", "bias": False, "shrink": False}
        return self.residual and self.norm_place == "before" and straight and not self.scale_embed and self.embed_dim is None

    def ports(self) -> Ports:
        gives = {"hidden": "real B T D", **({} if self.head is None else {"logits": "logits B T V"})}
        takes = {"tokens": "ids B T", "documents?": "ids B T"}
        parts = self.traits
        if "auxiliary" in parts:
            takes["counted?"] = "mask B T"
            gives["auxiliary"] = "loss B"
        if "prefix" in parts:
            takes["prefix?"] = "mask B T"
        traits = parts - {"auxiliary"} | {"gradients"} | ({"dropout"} if self.dropout else set())
        return Ports(takes=takes, gives=gives, sizes={"V": self.vocab, "T": self.context}, traits=traits)

    def build(self, embed: nn.Embedding | None = None) -> Decoder:
        return Decoder(self, embed)


class Decoder(Architecture):
    """tokens (B, T) → hidden (B, T, D), logits (B, T, V), and where parts add something to the loss auxiliary (B,).

    `counted` (B, T) says which tokens the loss is about; parts that add to it ask (none: all of them). `prefix` (B, T) says which tokens earlier
    ones of their document see too. `embed` is a table shared with another
    model.
    """

    def __init__(self, config: DecoderConfig, embed: nn.Embedding | None = None):
        super().__init__()
        self.config: DecoderConfig = config
        dim, width = config.dim, config.embed_width
        self.embed = nn.Embedding(config.vocab, width) if embed is None else embed
        self.layers = nn.ModuleList(self.layer(mixer) for mixer in config.mixers)
        self.positions = config.positions.build(dim=width, context=config.context, **self.heads())
        self.embed_norm = config.norm.build(dim=width) if config.embed_norm else None
        self.embed_dense = Linear(width, dim) if config.embed_dim else None
        self.value_embeds = nn.ModuleDict(self.value_tables()) if config.value_embed else None
        self.norm = config.norm.build(dim=dim) if config.norm_place == "before" else None
        weight = self.embed.weight if config.tie else None
        self.head = config.head.build(dim=dim, vocab=config.vocab, weight=weight, softcap=config.softcap) if config.head else None
        self.virtual: SoftPrompt | Prefix | None = None
        """Learned tokens that an adaptation has added."""

    def mixers(self) -> list[Mixer]:
        """The mixer of every layer."""
        found = [self.get_submodule(f"layers.{i}.mix.inner") for i in range(self.config.depth)]
        return [mixer for mixer in found if isinstance(mixer, Mixer)]

    def heads(self) -> dict[str, Any]:
        """What positions may need to know of the heads of attention: their width, their number, whether they look back only.

        Raises ValueError where layers differ in what positions of this kind reach into.
        """
        found = [mixer for mixer in self.mixers() if mixer.head_dim is not None]
        for fact in self.config.positions.cls.reaches:
            if len(values := {getattr(mixer, fact) for mixer in found}) > 1:
                raise ValueError(f"{self.config.positions.kind} positions need the same {fact} in all layers, but these have {', '.join(map(str, sorted(values)))}")
        return {"head_dim": found[0].head_dim, "heads": found[0].heads, "causal": found[0].causal} if found else {}

    def value_tables(self) -> dict[str, nn.Module]:
        """An embedding table for every layer whose mixer has values, by the layer's number."""
        widths = {str(i): mixer.value_dim for i, mixer in enumerate(self.mixers()) if mixer.value_dim is not None}
        if not widths:
            raise ValueError(f"value_embed: mixer '{self.config.mixers[0].kind}' has no values to add to; leave it out or choose attention")
        return {layer: nn.Embedding(self.config.vocab, width) for layer, width in widths.items()}

    def layer(self, mixer: Part) -> nn.Module:
        return Layer(mix=self.residual(mixer), feed=self.feed())

    def feed(self) -> Residual | None:
        return None if self.config.feedforward is None else self.residual(self.config.feedforward)

    def residual(self, part: Part) -> Residual:
        config = self.config
        inner, norm = part.build(dim=config.dim), config.norm.build(dim=config.dim)
        if config.norm_place == "after":
            return Residual(inner, after=norm, dropout=config.dropout, adds=config.residual)
        return Residual(inner, before=norm, dropout=config.dropout, adds=config.residual)

    def forward(
        self, tokens: Tensor, documents: Tensor | None = None, cache: Cache | None = None, counted: Tensor | None = None, prefix: Tensor | None = None,
    ) -> Outputs:
        return self.read(tokens, documents, cache, counted, prefix=prefix)

    def read(
        self, tokens: Tensor, documents: Tensor | None, cache: Cache | None, counted: Tensor | None, segments: Tensor | None = None, prefix: Tensor | None = None,
    ) -> Outputs:
        """What the model gives for rows of tokens, with the learned tokens it has."""
        layout, after = None, 0
        if isinstance(self.virtual, SoftPrompt) and (cache is None or not cache.length):  # what is remembered begins with the vectors already
            layout = self.virtual.layout(tokens, documents)
            documents, counted, segments = layout.spread_documents(documents), layout.spread(counted, False), layout.spread(segments, 0)
            tokens, prefix = layout.spread(tokens, 0), layout.spread(prefix, True)        # type: ignore[assignment]
        elif isinstance(self.virtual, Prefix):
            after = self.virtual.count
        positions = self.position_of(tokens, documents, cache)
        context = Context(positions + after if after else positions, documents, cache, counted=counted, layout=layout, prefix=prefix)
        return self.outputs(tokens, context, self.added(tokens, segments))

    def added(self, tokens: Tensor, segments: Tensor | None) -> Tensor | None:
        """What goes to the embedded tokens, as wide as they are."""
        return None

    @property
    def room(self) -> int | None:
        return self.config.context - (0 if self.virtual is None else self.virtual.count)

    def outputs(self, tokens: Tensor, context: Context, added: Tensor | None = None) -> Outputs:
        """What the model gives; `added` goes to the embedded tokens, as wide as they are."""
        hidden, head = self.encoded(tokens, context, added), self.head
        ready = {"hidden": hidden}
        if context.auxiliary:
            ready["auxiliary"] = torch.stack(context.auxiliary).sum(0)
        return Outputs(ready, lazy={} if head is None else {"logits": lambda: head(hidden)})

    def encoded(self, tokens: Tensor, context: Context, added: Tensor | None = None) -> Tensor:
        """hidden (B, T, D) after the last norm; the cache remembers these tokens."""
        documents, cache = context.documents, context.cache
        hidden = self.embed(tokens).to(self.compute_dtype)
        if self.config.scale_embed:
            hidden = hidden * math.sqrt(self.config.embed_width)
        if context.layout is not None and isinstance(self.virtual, SoftPrompt):
            hidden = context.layout.fill(hidden, self.virtual.weight)
        if added is not None:
            hidden = hidden + added.to(hidden.dtype)
        hidden = self.positions(hidden, context)
        if self.embed_norm is not None:
            hidden = self.embed_norm(hidden)
        if self.embed_dense is not None:
            hidden = self.embed_dense(hidden)
        for mixer in self.mixers():
            mixer.prepare(tokens.shape[1], hidden.dtype, context)
        prefixes = self.virtual() if isinstance(self.virtual, Prefix) else None
        for i, layer in enumerate(self.layers):
            if self.value_embeds is not None:
                context.values = self.value_embeds[str(i)](tokens).to(hidden.dtype) if str(i) in self.value_embeds else None
            if prefixes is not None:
                context.memory = prefixes[i]
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
        if isinstance(cache, PagedCache):
            return cache.positions
        if documents is None:
            start = cache.length if cache else 0
            return torch.arange(start, start + tokens.shape[1], device=tokens.device)[None]
        if cache is None or cache.documents is None:
            return document_positions(documents)
        return document_positions(torch.cat([cache.documents, documents], dim=1))[:, -tokens.shape[1] :]

    def initialise(self, seed: int) -> None:
        """N(0, std²) everywhere, output projections shrunk by sqrt(number of parts) (GPT-2; not when norms come after, or nothing is added) or zero; mixers may say more."""
        config = self.config
        shrink = math.sqrt(config.depth * len(list(self.layers[0].children()))) if config.norm_place == "before" and config.residual else 1.0
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name.endswith(("output.weight", "down.weight")):
                normal(parameter, 0.0 if config.zero_outputs else config.std / shrink, seed, name)
            elif name == "embed.weight":
                normal(parameter, config.embed_std or config.std, seed, name)
            elif "value_embeds." in name or (name == "head.weight" and config.zero_outputs):
                parameter.data.zero_()
            else:
                normal(parameter, config.std, seed, name)
        for i, mixer in enumerate(self.mixers()):
            mixer.initialise(seed, f"layers.{i}.mix.inner")

    def compiled_parts(self) -> list[nn.Module]:
        return list(self.layers)


class Layer(nn.Module):
    """A mixer, a look across to a source and a feedforward, where there are such, each in its residual."""

    def __init__(self, mix: Residual, feed: Residual | None, cross: Residual | None = None):
        super().__init__()
        self.mix = mix
        self.cross = cross
        self.feed = feed

    def forward(self, hidden: Tensor, context: Context) -> Tensor:
        hidden = self.mix(hidden, context)
        if self.cross is not None:
            hidden = self.cross(hidden, context)
        return hidden if self.feed is None else self.feed(hidden, context)
