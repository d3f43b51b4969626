"""The proof of what a sequence model declares about itself: what each output can know of each input.

Future inputs of a small float64 copy are changed and the outputs before them compared: a causal model's do not move at all, not in the
last bit (but for the rounding of parts that compute tokens in groups); a bidirectional one's do. Two documents laid in one row must not
see each other or each other's sources either, and a document must give the same wherever in a row it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.core.contract import Ports
from ftheta.core.errors import UsageError
from ftheta.core.random import generator
from ftheta.evaluation.probes.small import small

LENGTH = 12
BORDER = 5
"""Where the second document begins; uneven, so that no symmetry hides a fault."""
SAME = 1e-12
"""Relative difference up to which float64 outputs computed in two ways count as the same."""


@dataclass(frozen=True)
class Proof:
    """What was seen beside what is declared."""

    declared: frozenset[str]
    """The traits of the config."""
    leak: float
    """Largest change of an output when only later inputs change."""
    earliest: int | None
    """The first position whose output knows the future."""
    response: float
    """Largest change of an output when its own or earlier inputs change; 0 would mean that the probe sees nothing."""
    across: float | None
    """Largest change of an output when another document in its row changes; None where documents are not told apart."""
    moved: float | None
    """Largest relative difference between a document by itself and the same document standing second in a row."""
    contradictions: tuple[str, ...]
    """Where declaration and experiment differ, in words."""

    @property
    def holds(self) -> bool:
        """Whether everything declared is true."""
        return not self.contradictions

    @property
    def causal(self) -> bool:
        """Whether no output knows the future, as seen."""
        return self.leak == 0.0

    def __str__(self) -> str:
        seen = "causal: no output changes when later inputs do" if self.causal else (
            f"not causal: the output at position {self.earliest} changes by up to {self.leak:.2g} when later inputs do"
        )
        lines = [f"seen on a small float64 copy: {seen} (own and earlier inputs change it by up to {self.response:.2g})"]
        if self.across is not None:
            lines.append(f"documents in one row: change of one seen from another {self.across:.2g}, alone or second in a row {self.moved:.2g} (relative)")
        return "\n".join([*lines, *(f"CONTRADICTION: {line}" for line in self.contradictions)] if self.contradictions else [*lines, "declared traits hold"])


def prove(config: ArchitectureConfig, seed: int = 0) -> Proof:
    """Experiment on a small copy of any architecture that takes tokens. Raises UsageError for others."""
    ports = config.ports()
    if ports.takes.get("tokens") != "ids B T":
        raise UsageError(f"'{config.name}' takes {', '.join(ports.takes)}: the probe needs a model of tokens, one text a row")
    if not by_token(ports):
        raise UsageError(f"'{config.name}' gives {', '.join(ports.gives)}: the probe needs a model that says something at every token")
    return probe(small(config, seed), ports.traits, seed)


@torch.no_grad()
def probe(model: Architecture, declared: frozenset[str], seed: int = 0) -> Proof:
    """Experiment on a float64 model as it is, with these declared traits."""
    ports = model.config.ports()
    draw = generator(seed, "probe")
    vocab, length = ports.sizes["V"], min(LENGTH, ports.sizes["T"])
    tokens = torch.randint(vocab, (length,), generator=draw)
    other = (tokens + torch.randint(1, vocab, (length,), generator=draw)) % vocab        # differs everywhere
    names = by_token(ports)
    source = torch.randint(vocab, (length,), generator=draw) if "source" in ports.takes else None

    def run(tokens: Tensor, sources: Tensor | None = source, documents: Tensor | None = None) -> Outputs:
        """Rows (B, T), each with its source (B, S), or all with this one (S)."""
        more = {} if documents is None else {"documents": documents}
        if sources is not None:
            more["source"] = sources.expand(len(tokens), -1)
            more |= {} if documents is None else {"source_documents": documents}
        return model(tokens=tokens, **more)

    # row t: inputs from t on are changed. Rows are compared with the same row of an unchanged batch, so that not even rounding differs.
    when = torch.arange(length)
    changed = torch.where(when[None, :] >= when[:, None], other, tokens)
    change = difference(run(tokens.expand(length, -1)), run(changed), names)
    before = when[None, :] < when[:, None]
    # a part that computes tokens in groups of changing size rounds as the group does, and nothing less than that can be told from a leak
    rounding = SAME * float(change.max()) if "regroups" in ports.traits else 0.0
    leaks = torch.where(before & (change > rounding), change, 0.0)
    leak = float(leaks.max())
    earliest = int(leaks.amax(0).nonzero()[0]) if leak else None
    response = float(torch.where(before, 0.0, change).max())

    told = "documents?" in ports.takes or "documents" in ports.takes
    across, moved = documents(run, tokens, other, source, names) if told else (None, None)
    across = 0.0 if across is not None and across <= rounding else across
    return Proof(declared, leak, earliest, response, across, moved, tuple(contradictions(declared, leak, earliest, response, across, moved)))


def by_token(ports: Ports) -> list[str]:
    """The outputs that each belong to a token."""
    return [name for name, spec in ports.gives.items() if spec.split()[1:3] == ["B", "T"]]


def documents(run: Callable[..., Outputs], tokens: Tensor, other: Tensor, source: Tensor | None, names: list[str]) -> tuple[float, float]:
    """Two documents in one row: the largest change seen across the border when one changes with its source, and what standing second changes."""
    border = min(BORDER, len(tokens) - 1)
    when = torch.arange(len(tokens))
    number = (when >= border).long().expand(2, -1)
    first = when < border
    rows = torch.stack([torch.where(first, other, tokens), torch.where(first, tokens, other)])    # first changed; second changed
    sources = None if source is None else torch.stack([torch.where(first, other, source), torch.where(first, source, other)])
    change = difference(run(tokens.expand(2, -1), source, number), run(rows, sources, number), names)
    across = max(float(change[0, border:].max()), float(change[1, :border].max()))
    packed, alone = run(tokens[None], source, number[:1]), run(tokens[None, border:], None if source is None else source[border:])
    moved = max(float((packed[name][:, border:] - alone[name]).norm() / alone[name].norm().clamp_min(1e-300)) for name in names)
    return across, moved


def difference(a: Outputs, b: Outputs, names: list[str]) -> Tensor:
    """(B, T) largest absolute difference of the named outputs at each position."""
    return torch.stack([(a[name] - b[name]).abs()[..., None].flatten(2).amax(2) for name in names]).amax(0)


def contradictions(declared: frozenset[str], leak: float, earliest: int | None, response: float, across: float | None, moved: float | None) -> list[str]:
    """What is declared and not so, or so and not declared."""
    said = []
    if response == 0.0:
        said.append("outputs do not depend on inputs at all, so nothing was shown")
    if "causal" in declared and leak:
        said.append(f"declared causal, but the output at position {earliest} knows later inputs")
    if "causal" not in declared and not leak:
        said.append("not declared causal, but no output knows later inputs")
    if "bidirectional" in declared and not leak:
        said.append("declared bidirectional, but no output knows later inputs")
    if across:
        said.append("documents in one row see each other")
    if moved is not None and not moved <= SAME:                                          # not a number is a contradiction too
        said.append("a document gives something else when it stands second in a row: positions or states do not start again")
    return said
