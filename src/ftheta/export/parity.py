"""The parity gate: an export is done when the program it is for reads the same inputs and gives the same answers.

Compared are how prompts are read (token by token, number by number), all outputs, and for models that write texts the likeliest token at every place of what
the model itself writes: equal there means equal greedy text. Two tokens are one where the model gives both the same logit to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import FthetaError
from ftheta.data.processors.text import TextProcessor
from ftheta.export.format import Consumer, Ours
from ftheta.export.probes import NEW, Probe, inputs_of, writes
from ftheta.inference.generate import Generation, Request
from ftheta.inference.sampling import Sampling
from ftheta.models.model import Model

TOLERANCE = 1e-4
"""The largest difference of an output, as a share of its largest value: rounding of float32 in another order, with room."""
SMALL = 1e-3
"""Outputs that are all smaller than this are compared as they are."""
TOGETHER = 16
"""Probes of one shape that are run in one batch."""


class ParityError(FthetaError):
    """An export does not answer as the model does."""


@dataclass(frozen=True)
class Parity:
    """What was compared and how far apart it was."""

    probes: int
    outputs: tuple[str, ...]
    largest: float
    """The largest difference of an output, as a share of its largest value."""
    at: str
    """The probe where that was."""
    tokens: int
    """Greedy tokens compared, all equal but for ties."""
    ties: int
    """Places where the likeliest token differs and the model gives both the same logit to rounding."""

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        greedy = f", {self.tokens:,} greedy tokens equal" + (f" ({self.ties} ties)" if self.ties else "") if self.tokens else ""
        return f"as the model on {self.probes} probes: largest difference {self.largest:.1e} of its size{greedy}"


@torch.no_grad()
def compare(model: Model, expected: Model, consumer: Consumer, probes: Sequence[Probe]) -> Parity:
    """Compare a consumer of the export with the model: how it reads, and what it answers to what `expected` says. Raises ParityError naming the probe."""
    prompt_kept(model, consumer)
    ports, ours = model.architecture.config.ports(), Ours(expected)
    largest, at, ties, tokens = 0.0, "", 0, 0
    names: tuple[str, ...] = ()
    rows = [(probe, row) for probe, row in zip(probes, inputs(model, consumer, probes, ports), strict=True)]
    written = continued(expected, [row for _, row in rows], ports)
    for batch, members in together([(probe, grown(row, new)) for (probe, row), new in zip(rows, written, strict=True)]):
        a, b = ours.outputs(batch), answered(consumer, batch, members[0])
        names = tuple(name for name in a if name in b)
        if not names:
            raise ParityError(f"{members[0].name}: the export gives {', '.join(b) or 'nothing'}, the model {', '.join(a)}")
        for name in names:
            whole = len(members) == 1
            for i, probe in enumerate(members):
                difference = distance(a[name] if whole else a[name][i], b[name] if whole else b[name][i], f"{probe.name}: {name}")
                if not difference <= TOLERANCE:
                    raise ParityError(f"{probe.name}: {name} is {difference:.1e} of its size away from the model's; at most {TOLERANCE:.0e} is rounding")
                largest, at = max((largest, at), (difference, probe.name))
    if any(written):
        for (probe, row), new in zip(rows, written, strict=True):
            batch = grown(row, new)
            place = row["tokens"].shape[1] - 1
            count, equal = same_tokens(ours.outputs(batch)["logits"][0, place:], consumer.outputs(batch)["logits"][0, place:], new, probe)
            tokens, ties = tokens + count, ties + equal
    return Parity(len(probes), names, largest, at, tokens, ties)


def prompt_kept(model: Model, consumer: Consumer) -> None:
    """Raise ParityError when the consumer knows other control tokens, another chat template or other defaults."""
    mine, theirs = model.processor, consumer.processor
    if isinstance(mine, TextProcessor):
        if not isinstance(theirs, TextProcessor):
            raise ParityError("the export has no tokenizer")
        for role in mine.roles:
            if theirs.id(role) != mine.id(role):
                raise ParityError(f"special tokens: {role} is token {theirs.id(role)} in the export and {mine.id(role)} in the model")
        if theirs.chat_template != mine.chat_template:
            raise ParityError(f"chat template: the export has {'another one than the model' if theirs.chat_template else 'none, and the model has one'}")
    wanted = Ours(model).generation
    if wanted is not None:
        found = consumer.generation or {}
        if wrong := [name for name in wanted if wanted[name] is not None and found.get(name) != wanted[name]]:
            raise ParityError(f"generation defaults: {wrong[0]} is {found.get(wrong[0])} in the export and {wanted[wrong[0]]} in the model")


def inputs(model: Model, consumer: Consumer, probes: Iterable[Probe], ports: Ports) -> Iterable[Batch]:
    """Every probe as the model reads it. Raises ParityError where the consumer reads something else."""
    wanted = inputs_of(ports)
    for probe in probes:
        mine = probe.read(model.processor, ports)
        try:
            theirs = probe.read(consumer.processor, ports)
        except FthetaError as error:
            raise ParityError(f"{probe.name}: the export cannot read it: {error}") from None
        for name, value in mine.items():
            other = theirs.get(name)
            if other is None or other.shape != value.shape:
                shape = "nothing" if other is None else tuple(other.shape)
                raise ParityError(f"{probe.name}: {name} is read as {shape} by the export and as {tuple(value.shape)} by the model{first_ids(value, other)}")
            if value.numel() and (away := float((value.double() - other.double()).abs().max())) > (1e-5 if value.is_floating_point() else 0):
                raise ParityError(f"{probe.name}: {name} is read otherwise by the export, by {away:.3g} at most{first_ids(value, other)}")
        yield {name: value for name, value in mine.items() if name in wanted}


def first_ids(mine: Tensor, theirs: Tensor | None) -> str:
    """The first tokens on both sides, where they are tokens."""
    if mine.is_floating_point() or theirs is None:
        return ""
    return f" (it begins {theirs.flatten()[:6].tolist()}, not {mine.flatten()[:6].tolist()})"


def continued(model: Model, rows: Sequence[Batch], ports: Ports) -> list[list[int]]:
    """What the model itself writes after every row, taking the likeliest token; nothing where it does not write."""
    if not (writes(ports) and isinstance(model.processor, TextProcessor)):
        return [[] for _ in rows]
    room = model.architecture.room or 512
    requests = []
    for row in rows:
        prompt, source = row["tokens"][0].tolist(), row["source"][0].tolist() if "source" in row else None
        requests.append(Request(prompt, Sampling(temperature=0), most=max(1, min(NEW, room - len(prompt))), source=source))
    for start in range(0, len(requests), TOGETHER):
        Generation(model.architecture, requests[start : start + TOGETHER], longest=None, end=None).finish()
    return [request.new for request in requests]


def grown(row: Batch, new: Sequence[int]) -> Batch:
    """A row of tokens with what was written after it, but for the last."""
    return {**row, "tokens": torch.cat([row["tokens"], torch.tensor([new[:-1]], dtype=torch.int64)], dim=1)} if len(new) > 1 else row


def together(rows: Sequence[tuple[Probe, Batch]]) -> Iterable[tuple[Batch, list[Probe]]]:
    """Rows of one shape in batches; whole graphs by themselves."""
    groups: dict[Any, list[tuple[Probe, Batch]]] = {}
    for number, (probe, row) in enumerate(rows):
        shape = tuple((name, tuple(value.shape)) for name, value in row.items())
        groups.setdefault(shape if all(value.shape[0] == 1 for value in row.values()) else number, []).append((probe, row))
    for group in groups.values():
        for start in range(0, len(group), TOGETHER):
            part = group[start : start + TOGETHER]
            batch = {name: torch.cat([row[name] for _, row in part]) for name in part[0][1]} if len(part) > 1 else part[0][1]
            yield batch, [probe for probe, _ in part]


def answered(consumer: Consumer, batch: Batch, probe: Probe) -> dict[str, Tensor]:
    """What the consumer gives. Raises ParityError when it breaks."""
    try:
        return consumer.outputs(batch)
    except FthetaError:
        raise
    except Exception as error:                                                            # a foreign runtime raises what it likes
        raise ParityError(f"{probe.name}: the export cannot be run: {type(error).__name__}: {str(error).strip().splitlines()[0]}") from error


def distance(a: Tensor, b: Tensor, where: str) -> float:
    """The largest difference as a share of the largest value. Raises ParityError where shapes differ or a value is not a number."""
    if a.shape != b.shape:
        raise ParityError(f"{where} has shape {tuple(b.shape)} in the export and {tuple(a.shape)} in the model")
    if not a.numel():
        return 0.0
    x, y = a.double(), b.double()
    alike = (x == y) | (x.isnan() & y.isnan())
    scale = float(x[x.isfinite()].abs().max()) if bool(x.isfinite().any()) else 1.0
    apart = torch.where(alike, torch.zeros_like(x), (x - y).abs())
    return float(apart.max()) / max(scale, SMALL) if bool(apart.isfinite().all()) else float("inf")


def same_tokens(ours: Tensor, theirs: Tensor, new: Sequence[int], probe: Probe) -> tuple[int, int]:
    """How many likeliest tokens were compared, by logits (T, V) of both where `new` was written, and how many were ties. Raises ParityError for another one."""
    ties = 0
    for place, token in enumerate(new):
        other = int(theirs[place].argmax())
        if other == token:
            continue
        margin = float(ours[place, token] - ours[place, other])
        if margin > 2 * TOLERANCE * max(float(ours[place].abs().max()), SMALL):
            raise ParityError(f"{probe.name}: new token {place} is {other} by the export and {token} by the model, whose logits of both are {margin:.1e} apart")
        ties += 1
    return len(new), ties
