"""Sources yield batches. A resident data set's batch is a pure function of (seed, step); an experience source reads the live model.

`sample = f(seed, epoch, step, slot)`: the step fixes epoch and place in it, the slot is the row within the step's batch. A position
is therefore a few integers, and any rank, micro-batch or resumed run finds the same rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import DataError
from ftheta.core.late import torch
from ftheta.core.random import Draws, generator

if TYPE_CHECKING:
    from torch import Tensor

Prepare = Callable[[Batch, Draws], Batch]


class Mates(NamedTuple):
    """What a random change of some rows of a step may know of the other rows: how many classes there are, and the rows themselves, changed as far as these."""

    classes: int | None
    at: Callable[[Tensor], Batch]
    """Slots (b,) of the step → their examples."""


Change = Callable[[Batch, Draws, Mates], Batch]

GROUP = {"group": "label B"}
"""The port of examples' groups."""
POOL = 64
"""Batches whose examples are sorted by length together."""


class Groups(NamedTuple):
    """Which group each example of a data set is of, such as a sex or a site: metrics compare them, no model sees them."""

    names: tuple[str, ...]
    numbers: Tensor
    """(N,)"""

    @classmethod
    def of(cls, names: Sequence[str]) -> Groups:
        """The groups of examples, by their names."""
        every = sorted(set(names))
        return cls(tuple(every), torch.tensor([every.index(name) for name in names], dtype=torch.long))


class Dataset(ABC):
    """Examples at hand, addressed by number."""

    groups: Groups | None = None
    """Their groups, where the source says so; a batch then has `group` (B,)."""

    @property
    @abstractmethod
    def ports(self) -> Ports:
        """What a batch of it gives, and its sizes."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the content: equal exactly when the examples are equal."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, rows: Tensor) -> Batch:
        """The examples with these numbers (B,), stacked."""

    def raw(self, rows: Tensor) -> Batch:
        """The examples as random changes are made to them."""
        return self.batch(rows)

    def finish(self, batch: Batch) -> Batch:
        """What `raw` gave, perhaps changed since, as `batch` gives it."""
        return batch

    @property
    def units_per_example(self) -> int:
        """How many tokens (text) or examples (everything else, 1) one example holds, on average; the unit speed is quoted in."""
        return 1

    def visits(self) -> int:
        """How many examples a pass over the data looks at."""
        return len(self)

    def visited(self, draws: torch.Generator) -> Tensor:
        """(visits,) the examples that a pass looks at, in any order; `draws` are for what may differ from pass to pass."""
        return torch.arange(len(self))

    @property
    def lengths(self) -> Tensor | None:
        """(N,) tokens of every example, where they differ and a batch should hold like ones; None: examples are taken as they come."""
        return None


class Source(ABC):
    """Yields the batch of any step."""

    @property
    @abstractmethod
    def ports(self) -> Ports: ...

    @property
    @abstractmethod
    def fingerprint(self) -> str: ...

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Rows of one step, over all processes."""

    @property
    def units_per_example(self) -> int:
        return 1

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps that visit every example once; None when there is no such number."""
        return None

    @property
    def live(self) -> bool:
        """Whether batches depend on the model being trained (then they cannot be fetched ahead)."""
        return False

    @abstractmethod
    def batch(self, step: int, slots: Tensor, model: Any) -> Batch:
        """Rows `slots` (b,) of step `step`'s batch. `model` is the live model, for sources that act with it."""

    def statistics(self) -> dict[str, float]:
        """What a live source has to report beside the loss, such as episode returns."""
        return {}

    def exhibits(self) -> list[dict[str, Any]]:
        """What a live source has to show of what it did last, as plain data, such as completions to read."""
        return []

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain facts that a checkpoint must hold to continue; nothing for resident data."""
        return {}, {}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Continue from what `state` gave; resident data has nothing to restore."""
        return


class Shuffled(Source):
    """A data set in a new random order every epoch, incomplete last batches left out.

    Where examples differ in length, a batch holds like ones: those of POOL batches are sorted by length, and batches come in random order.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int, prepare: Prepare | None = None, changes: Sequence[Change] = ()):
        if batch_size > len(dataset):
            raise DataError(f"train.batch is {batch_size:,} but the training split holds only {len(dataset):,} examples: use a smaller batch or more data")
        self.dataset = dataset
        self.size = batch_size
        self.seed = seed
        self.prepare = prepare
        self.changes = changes
        self.order: tuple[int, Tensor] = (-1, torch.empty(0))

    @property
    def ports(self) -> Ports:
        return self.dataset.ports

    @property
    def fingerprint(self) -> str:
        return self.dataset.fingerprint

    @property
    def batch_size(self) -> int:
        return self.size

    @property
    def units_per_example(self) -> int:
        return self.dataset.units_per_example

    @property
    def steps_per_epoch(self) -> int:
        return self.dataset.visits() // self.size

    def rows(self, step: int, slots: Tensor) -> Tensor:
        """Which examples fill these slots of this step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self.order
        if order[0] != epoch:
            order = self.order = (epoch, self.arranged(epoch))
        return order[1][place * self.size + slots]

    def arranged(self, epoch: int) -> Tensor:
        """All examples in the order of an epoch."""
        order = self.dataset.visited(generator(self.seed, "visited", epoch))
        order = order[torch.randperm(len(order), generator=generator(self.seed, "order", epoch))]
        lengths = self.dataset.lengths
        if lengths is None:
            return order
        pools = order.split(POOL * self.size)
        batches = torch.cat([pool[lengths[pool].argsort(stable=True)] for pool in pools])[: self.steps_per_epoch * self.size].view(-1, self.size)
        return batches[torch.randperm(len(batches), generator=generator(self.seed, "batches", epoch))].flatten()

    def batch(self, step: int, slots: Tensor, model: Any) -> Batch:
        batch, draws = self.changed(step, slots, len(self.changes))
        batch = self.dataset.finish(batch)
        return batch if self.prepare is None else self.prepare(batch, draws)

    def changed(self, step: int, slots: Tensor, count: int) -> tuple[Batch, Draws]:
        """The first random changes of a step, made to some of its rows, and what they were drawn from."""
        batch, draws = self.dataset.raw(self.rows(step, slots)), Draws(slots, self.size, self.seed, "prepare", step)
        for number in range(count):
            batch = self.changes[number](batch, draws, Mates(self.dataset.ports.sizes.get("K"), self.mates(step, slots, number, batch)))
        return batch, draws

    def mates(self, step: int, slots: Tensor, count: int, batch: Batch) -> Callable[[Tensor], Batch]:
        """Finds other rows of a step after so many changes: in the batch if it is all of the step, else anew."""
        def at(wanted: Tensor) -> Batch:
            if len(slots) < self.size:
                return self.changed(step, wanted, count)[0]
            place = torch.empty_like(slots).index_put_((slots,), torch.arange(self.size))
            return {name: value[place[wanted]] for name, value in batch.items()}

        return at


class Ordered(Shuffled):
    """A data set in its own order, for validation."""

    def __init__(self, dataset: Dataset, batch_size: int, seed: int, prepare: Prepare | None = None):
        super().__init__(dataset, min(batch_size, len(dataset)), seed, prepare)

    def rows(self, step: int, slots: Tensor) -> Tensor:
        return (step * self.size + slots) % len(self.dataset)
