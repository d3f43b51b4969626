"""What architectures, objectives and data promise each other, and `check`, which says whether they fit.

A port is a kind and its dimensions: `"ids B T"`, `"logits B T V"`, `"edges 2 E"`; `*` stands for any one dimension. A port of kind
`loss` holds what a model adds to the loss of its own accord, such as the balance of its experts; training adds it, no answer depends on it. Names
ending in `?` are optional. Dimensions: B batch, T time, S time of a source, D dim, V vocab, H heads, C channels, K classes, N nodes or boxes,
E edges, A actions. Boxes are x₁ y₁ x₂ y₂ in pixels, from the left and the top of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Batch = dict[str, "Tensor"]
"""Named tensors of one step; the first dimension is the example, except for whole-graph batches."""

PADDING = -1
"""The document that padding belongs to: tokens see only their own document, so nothing sees padding."""

UNTAGGED = -1
"""The class of tokens that carry no tag: later pieces of a word, control tokens, padding."""

PADDED = -1
"""The class of boxes that only fill a batch up, and of pixels that none is known of."""

UPPER_BOUNDS = {"V": "vocabulary", "T": "context length", "S": "length of sources"}
EXACT = {"K": "number of classes", "C": "number of channels", "D": "number of features", "A": "number of actions"}


@dataclass(frozen=True)
class Ports:
    """What a part of the pipeline takes and gives, how large (dimension letter → size) and with which traits."""

    takes: Mapping[str, str] = field(default_factory=dict)
    """Of a source: what it asks the model for while it acts."""
    gives: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    traits: frozenset[str] = frozenset()
    learns: Mapping[str, str] = field(default_factory=dict)
    """What a model that fits itself reads besides what it takes: the answers it learns from."""


@dataclass(frozen=True)
class Needs:
    """What an objective reads from the batch, feeds to the model itself, wants of its outputs, and why it needs a trait."""

    reads: Mapping[str, str] = field(default_factory=dict)
    feeds: Mapping[str, str] = field(default_factory=dict)
    wants: Mapping[str, str] = field(default_factory=dict)
    traits: Mapping[str, str] = field(default_factory=dict)
    """Trait the model must have → what to say when it has not: why, and what would fit, in words a newcomer understands."""


@dataclass
class Loss:
    """A sum and how many things were summed, so that averages over micro-batches and processes are exact.

    `count=None` says the loss couples the examples of a batch: it may not be split, unless the objective is one of `Coupled`.
    `metrics` are further (sum, count) pairs to report.
    """

    total: Tensor
    count: Tensor | int | None
    metrics: dict[str, tuple[Tensor | float, Tensor | float]] = field(default_factory=dict)


def fits(given: str, wanted: str) -> bool:
    """Whether a port of one spec can be read as another: same kind, same number of dimensions, same letters."""
    a, b = given.split(), wanted.split()
    return len(a) == len(b) and a[0] == b[0] and all(x == y or "*" in (x, y) for x, y in zip(a[1:], b[1:], strict=True))


def check(data: Ports, model: Ports, needs: Needs) -> list[str]:
    """Every reason why this data, model and objective do not fit together, each with what would; empty when they fit."""
    reasons: list[str] = []
    if all(name in {taken.rstrip("?") for taken in model.takes} for name in needs.feeds):  # otherwise the missing input is the reason
        reasons += [reason for trait, reason in needs.traits.items() if trait not in model.traits]
    for name, spec in needs.reads.items():
        if name.endswith("?"):
            continue
        if name not in data.gives:
            reasons.append(f"the objective reads '{name}' ({spec}) from the data, which gives only {listing(data.gives)}; choose a source with '{name}'")
        elif not fits(data.gives[name], spec):
            reasons.append(f"the objective reads '{name}' as {spec}, but the data gives it as {data.gives[name]}")
    supplied = {**data.gives, **needs.feeds}
    for name, spec in model.takes.items():
        if name.endswith("?"):
            continue
        if name not in supplied:
            reasons.append(
                f"the model takes '{name}' ({spec}), but this data and objective supply only {listing(supplied)}; "
                f"choose a model that takes one of these, or a source that gives '{name}'"
            )
        elif not fits(supplied[name], spec):
            reasons.append(f"the model takes '{name}' as {spec}, but it is supplied as {supplied[name]}")
    for name, spec in needs.feeds.items():
        if not reasons and name not in {taken.rstrip("?") for taken in model.takes}:
            reasons.append(f"the objective feeds '{name}' ({spec}) to the model, which takes only {listing(model.takes)}; choose a model that takes '{name}'")
    for name, spec in model.learns.items():
        if name not in data.gives or not fits(data.gives[name], spec):
            reasons.append(f"the model learns from '{name}' ({spec}), but the data gives {listing(data.gives)}; choose a source with '{name}', or another model")
    for name, spec in needs.wants.items():
        if name not in model.gives:
            reasons.append(
                f"the objective wants '{name}' ({spec}) from the model, which gives only {listing(model.gives)}; "
                f"choose a model that gives '{name}', or an objective made for {listing(model.gives)}"
            )
        elif not fits(model.gives[name], spec):
            reasons.append(f"the objective wants '{name}' as {spec}, but the model gives it as {model.gives[name]}")
    for name, spec in data.takes.items():
        if name not in model.gives or not fits(model.gives[name], spec):
            reasons.append(f"the source asks the model for '{name}' ({spec}) while it acts, and it gives {listing(model.gives)}; choose a model that gives '{name}'")
    for letter, size in data.sizes.items():
        other = model.sizes.get(letter)
        if other is None:
            continue
        if letter in UPPER_BOUNDS and size > other:
            reasons.append(f"the data's {UPPER_BOUNDS[letter]} is {size:,}, more than the model's {other:,}: enlarge the model's or shrink the data's")
        elif letter in EXACT and size != other:
            reasons.append(
                f"the data's {EXACT[letter]} is {size:,}, the model's is {other:,}: they must be equal (leave the model's out and it is taken from the data)"
            )
    return reasons


def listing(ports: Mapping[str, str]) -> str:
    return ", ".join(f"'{name.rstrip('?')}' ({spec})" for name, spec in ports.items()) or "nothing"
