"""How many tokens fit: what the pages take is taken at the start, what a step takes at most beside them is set aside.

A token takes 2 · Σ_layers kv_heads · head_dim numbers. A step takes, for the sequences it looks at together, what it gathers of one layer's pages
(at most WASTE times as much as there is), the scores of attention, and activations of `chunk` tokens and logits of `together`. A sequence that pages
cannot hold takes a slot, as large as it can become.
"""

from __future__ import annotations

from typing import NamedTuple

from ftheta.architectures.architecture import Architecture
from ftheta.architectures.decoder import Decoder, DecoderConfig
from ftheta.architectures.encoder_decoder import EncoderDecoder
from ftheta.blocks.attention import Attention
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.paged import PagedCache, paged
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
    asked: int
    """After so many tokens of a step it is asked what comes next."""

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


def cache_of(architecture: Architecture, pages: int, size: int) -> PagedCache:
    """Empty pages for an architecture."""
    return paged(paged_mixers(architecture), pages, size, architecture.compute_dtype, next(architecture.parameters()).device)


def paged_mixers(architecture: Architecture) -> dict[Mixer, tuple[int, int]]:
    """(kv_heads, head_dim) of every mixer; none for a model that pages cannot hold: it keeps a state, or looks at a source."""
    assert isinstance(architecture, Decoder)
    mixers = [mixer for mixer in architecture.mixers() if isinstance(mixer, Attention)]
    if len(mixers) < len(architecture.layers) or isinstance(architecture, EncoderDecoder):
        return {}
    return {mixer: (mixer.kv_heads, mixer.head_dim) for mixer in mixers}


def step_bytes(architecture: Decoder, read: int, reach: int, asked: int) -> int:
    """What a step takes at most that reads so many tokens, each of which looks at `reach`, and asks after so many of them what comes next."""
    config = architecture.config
    assert isinstance(config, DecoderConfig)
    width = architecture.compute_dtype.itemsize
    heads = max((mixer.heads or 1 for mixer in architecture.modules() if isinstance(mixer, Attention)), default=0)
    layers = [parameter for name, parameter in architecture.named_parameters() if "layers." in name]
    widest = max([config.dim, *(parameter.shape[0] for parameter in layers if parameter.ndim == 2)])
    largest_map = max((part.in_features * part.out_features for part in architecture.modules() if isinstance(part, QuantisedLinear)), default=0)
    return COPIES * read * widest * width + 3 * WASTE * read * heads * reach * width + 5 * asked * config.vocab * 4 + MADE * largest_map


def token_bytes(architecture: Decoder) -> int:
    """What a token in the pages takes: its keys and values in all layers, and what is gathered of one layer."""
    sizes = [kv_heads * head_dim for kv_heads, head_dim in paged_mixers(architecture).values()]
    return 2 * architecture.compute_dtype.itemsize * (sum(sizes) + WASTE * max(sizes))


def plan(model: Model, size: int, together: int, chunk: int, memory: int | None) -> Capacity:
    """How many pages of `size` tokens there is room for in `memory` bytes (None: a share of what is free), or slots of whole sequences where pages
    cannot hold them. Raises UsageError when none fit, Unpaged for a model the engine cannot write with."""
    ensure_written(model)
    architecture, task = model.architecture, model.task
    assert isinstance(architecture, Decoder) and isinstance(task, Writing)
    config, longest = architecture.config, architecture.room
    assert isinstance(config, DecoderConfig)
    reach, free = longest or config.context, int(SHARE * memory_bytes()) if memory is None else memory
    source = (task.processor.longest or config.ports().sizes["S"]) if isinstance(architecture, EncoderDecoder) else None
    asked = together if task.draft is None else (1 + task.draft.ahead) * together
    step = step_bytes(architecture, max(chunk, source or 0), max(reach, source or 0), asked)
    if task.draft is not None and not all(isinstance(part, Decoder) and paged_mixers(part) for part in (architecture, task.draft.model)):
        raise UsageError("draft: an engine guesses ahead where pages can hold both models, which have attention in every layer: leave the draft out")
    if paged_mixers(architecture):
        each, most, what = size * token_bytes(architecture), ROOM * together * -(-reach // size), f"page of {size} tokens"
        if task.draft is not None:
            assert isinstance(task.draft.model, Decoder)
            each, step = each + size * token_bytes(task.draft.model), max(step, step_bytes(task.draft.model, chunk + together, reach, together))
    else:
        each, most, size, what = COPIED * largest(architecture, task.limits()["longest"], source), together, WHOLE, "sequence"
    pages = (free - step) // each
    if memory is None or size == WHOLE:
        pages = min(pages, most)
    if pages < 1:
        raise UsageError(f"memory: {free:,} bytes hold no {what.split()[0]}: a step takes {step:,} bytes, a {what} {each:,} more")
    return Capacity(pages, size, pages * each + step, asked)
