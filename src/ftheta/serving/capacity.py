"""How many tokens fit: what the pages take is taken at the start, what a step takes at most beside them is set aside.

A token takes 2 · Σ_layers kv_heads · head_dim numbers. A step takes, for the sequences it looks at together, what it gathers of one layer's pages
(at most WASTE times as much as there is), the scores of attention, and activations of `chunk` tokens and logits of `together`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ftheta.architectures.decoder import Decoder, DecoderConfig
from ftheta.blocks.attention import Attention
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.rotary_scaling import Dynamic
from ftheta.blocks.virtual import SoftPrompt
from ftheta.core.device import memory_bytes
from ftheta.core.errors import UsageError
from ftheta.models.model import Model
from ftheta.models.tasks.text import TextGeneration
from ftheta.serving.runner import WASTE

SHARE = 0.5
"""Of the memory that is free at the start, unless more is asked for."""
ROOM = 4
"""Times as many tokens as the sequences written at a time can hold; the rest is for beginnings that come again."""
COPIES = 8
"""Tensors as wide as the model or its widest map that are there at once."""


class Unpaged(UsageError):
    """This model cannot be read from pages; something else can use it."""


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
        return f"{self.tokens:,} tokens fit in {self.bytes / 2**20:,.0f} MB"


def paged_mixers(model: Model) -> dict[Mixer, tuple[int, int]]:
    """(kv_heads, head_dim) of every mixer. Raises Unpaged for a model that cannot be read from pages."""
    if not isinstance(model.task, TextGeneration):
        raise Unpaged(f"this model does '{model.task.name}': the engine continues texts; other tasks go through a Batcher")
    architecture = model.architecture
    if not isinstance(architecture, Decoder) or "causal" not in architecture.config.ports().traits:
        raise Unpaged(f"'{architecture.config.name}' does not continue a text token by token: use model.predict, or a Batcher")
    mixers = [mixer for mixer in architecture.mixers() if isinstance(mixer, Attention)]
    if len(mixers) < len(architecture.layers):
        kinds = sorted({part.kind for part in architecture.config.mixers} - {"attention"})
        raise Unpaged(f"mixer {', '.join(kinds)} keeps a state and no keys and values, which pages are for: use model.predict, or a Batcher")
    if isinstance(architecture.virtual, SoftPrompt):
        raise Unpaged("a soft prompt stands before every text, which pages have no place for: use model.predict, or a Batcher")
    if any(isinstance(getattr(part, "scaling", None), Dynamic) for part in architecture.modules()):
        raise Unpaged("rotary scaling 'dynamic' turns tokens by how long the text is when they are read, so a text cannot be read in pieces: use model.predict")
    return {mixer: (mixer.kv_heads, mixer.head_dim) for mixer in mixers}


def plan(model: Model, size: int, together: int, chunk: int, memory: int | None) -> Capacity:
    """How many pages of `size` tokens there is room for in `memory` bytes (None: a share of what is free). Raises UsageError when none fit."""
    mixers = paged_mixers(model)
    architecture = model.architecture
    config, longest = architecture.config, architecture.room
    assert isinstance(config, DecoderConfig)
    width = torch.empty(0, dtype=architecture.compute_dtype).element_size()
    per_token = 2 * width * sum(kv_heads * head_dim for kv_heads, head_dim in mixers.values())
    gathered = 2 * WASTE * width * max(kv_heads * head_dim for kv_heads, head_dim in mixers.values())
    heads = max(mixer.heads or 1 for mixer in mixers)
    widest = max([config.dim, *(parameter.shape[0] for parameter in architecture.layers.parameters() if parameter.ndim == 2)])   # type: ignore[union-attr]
    reach = longest or config.context
    step = COPIES * chunk * widest * width + 3 * WASTE * chunk * heads * reach * width + 5 * together * config.vocab * 4
    free = int(SHARE * memory_bytes()) if memory is None else memory
    pages = (free - step) // (size * (per_token + gathered))
    if memory is None:
        pages = min(pages, ROOM * together * -(-reach // size))
    if pages < 1:
        raise UsageError(f"memory: {free:,} bytes hold no page: a step takes {step:,} bytes, a page of {size} tokens {size * (per_token + gathered):,} more")
    return Capacity(pages, size, pages * size * (per_token + gathered) + step)
