"""How many tokens fit: what the pages take is taken at the start, what a step takes at most beside them is set aside.

A token takes 2 · Σ_layers kv_heads · head_dim numbers. A step takes, for the sequences it looks at together, what it gathers of one layer's pages
(at most WASTE times as much as there is), the scores of attention, and activations of `chunk` tokens and logits of `together`. A sequence that pages
cannot hold takes a slot, as large as it can become.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ftheta.architectures.decoder import Decoder, DecoderConfig
from ftheta.architectures.encoder_decoder import EncoderDecoder
from ftheta.blocks.attention import Attention
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.quantised import QuantisedLinear
from ftheta.blocks.rotary_scaling import Dynamic
from ftheta.blocks.virtual import SoftPrompt
from ftheta.core.device import memory_bytes
from ftheta.core.errors import UsageError
from ftheta.models.model import Model
from ftheta.models.tasks.text import Writing
from ftheta.serving.pages import WHOLE
from ftheta.serving.runner import WASTE
from ftheta.serving.slots import largest

SHARE = 0.5
"""Of the memory that is free at the start, unless more is asked for."""
ROOM = 4
"""Times as many tokens as the sequences written at a time can hold; the rest is for beginnings that come again."""
COPIES = 8
"""Tensors as wide as the model or its widest map that are there at once."""
MADE = 16
"""Bytes for each weight of the largest map that is kept in few bits, while real numbers are made of it."""
COPIED = 3
"""Times a sequence's slot is there while it is read together with others: itself, among the others, and as it is afterwards."""


class Unpaged(UsageError):
    """The engine cannot write with this model; something else can use it."""


class Capacity(NamedTuple):
    """What fits."""

    pages: int
    size: int
    bytes: int
    """All that is taken: pages and what a step takes beside them."""

    @property
    def tokens(self) -> int:
        return self.pages * self.size

    def __str__(self) -> str:
        if self.size == WHOLE:
            return f"{self.pages:,} sequences fit in {self.bytes / 2**20:,.0f} MB"
        return f"{self.tokens:,} tokens fit in {self.bytes / 2**20:,.0f} MB"


def ensure_written(model: Model) -> None:
    """Raise Unpaged for a model that no engine can write with."""
    if not isinstance(model.task, Writing):
        raise Unpaged(f"this model does '{model.task.name}': the engine continues texts; other tasks go through a Batcher")
    architecture = model.architecture
    if not isinstance(architecture, Decoder) or "causal" not in architecture.config.ports().traits:
        raise Unpaged(f"'{architecture.config.name}' does not continue a text token by token: use model.predict, or a Batcher")
    if isinstance(architecture.virtual, SoftPrompt):
        raise Unpaged("a soft prompt stands before every text, which the engine has no place for: use model.predict, or a Batcher")
    if any(isinstance(getattr(part, "scaling", None), Dynamic) for part in architecture.modules()):
        raise Unpaged("rotary scaling 'dynamic' turns tokens by how long the text is when they are read, so a text cannot be read in pieces: use model.predict")


def paged_mixers(model: Model) -> dict[Mixer, tuple[int, int]]:
    """(kv_heads, head_dim) of every mixer; none for a model that pages cannot hold: it keeps a state, or looks at a source."""
    architecture = model.architecture
    assert isinstance(architecture, Decoder)
    mixers = [mixer for mixer in architecture.mixers() if isinstance(mixer, Attention)]
    if len(mixers) < len(architecture.layers) or isinstance(architecture, EncoderDecoder):
        return {}
    return {mixer: (mixer.kv_heads, mixer.head_dim) for mixer in mixers}


def plan(model: Model, size: int, together: int, chunk: int, memory: int | None) -> Capacity:
    """How many pages of `size` tokens there is room for in `memory` bytes (None: a share of what is free), or slots of whole sequences where pages
    cannot hold them. Raises UsageError when none fit, Unpaged for a model the engine cannot write with."""
    ensure_written(model)
    mixers, architecture, task = paged_mixers(model), model.architecture, model.task
    config, longest = architecture.config, architecture.room
    assert isinstance(config, DecoderConfig) and isinstance(task, Writing)
    width = torch.empty(0, dtype=architecture.compute_dtype).element_size()
    parts = [mixer for mixer in architecture.modules() if isinstance(mixer, Attention)]
    heads = max((mixer.heads or 1 for mixer in parts), default=0)
    layers = [parameter for name, parameter in architecture.named_parameters() if "layers." in name]
    widest = max([config.dim, *(parameter.shape[0] for parameter in layers if parameter.ndim == 2)])
    reach, free = longest or config.context, int(SHARE * memory_bytes()) if memory is None else memory
    source = (task.processor.longest or config.ports().sizes["S"]) if isinstance(architecture, EncoderDecoder) else None
    read = max(chunk, source or 0)
    step = COPIES * read * widest * width + 3 * WASTE * read * heads * max(reach, source or 0) * width + 5 * together * config.vocab * 4
    step += MADE * max((part.in_features * part.out_features for part in architecture.modules() if isinstance(part, QuantisedLinear)), default=0)
    if mixers:
        each = 2 * width * sum(kv_heads * head_dim for kv_heads, head_dim in mixers.values())
        each += 2 * WASTE * width * max(kv_heads * head_dim for kv_heads, head_dim in mixers.values())
        each, most, what = size * each, ROOM * together * -(-reach // size), f"page of {size} tokens"
    else:
        each, most, size, what = COPIED * largest(architecture, task.limits()["longest"], source), together, WHOLE, "sequence"
    pages = (free - step) // each
    if memory is None or size == WHOLE:
        pages = min(pages, most)
    if pages < 1:
        raise UsageError(f"memory: {free:,} bytes hold no {what.split()[0]}: a step takes {step:,} bytes, a {what} {each:,} more")
    return Capacity(pages, size, pages * each + step)
