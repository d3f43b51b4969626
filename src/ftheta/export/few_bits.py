"""A model folder whose linear maps are kept in 8 or 4 bits (`blocks/quantised.py`); the table of a vocabulary that logits are made with in 8; norms and other
embeddings stay as they are. This package opens it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import ClassVar

from ftheta.blocks.few_bits import few_bits, keep_all_in_few_bits, tables
from ftheta.blocks.linear import Linear
from ftheta.blocks.quantised import Quantisation, QuantisedLinear, QuantisedTable
from ftheta.core.atomic import Attempt
from ftheta.export.format import Consumer, Format, Ours
from ftheta.models.folder import load, write_model
from ftheta.models.model import Model


class FewBits(Format):
    """Weights as whole numbers and scales, made real numbers again when they are used."""

    how: ClassVar[Quantisation]

    def reasons(self, model: Model) -> list[str]:
        if few_bits(model.architecture):
            return ["its weights are kept in few bits already: export the model it was made of"]
        if not any(type(part) is Linear for part in model.architecture.modules()):
            return ["it has no linear maps to keep in few bits"]
        return []

    def quantised(self, model: Model) -> Model:
        architecture = copy.deepcopy(model.architecture)
        keep_all_in_few_bits(architecture, self.how)
        return Model(architecture, model.processor, model.task.name, model.provenance, model.place)

    def expected(self, model: Model) -> Model:
        """Plain linear maps of the weights that the codes stand for."""
        architecture = copy.deepcopy(model.architecture)
        for part in architecture.modules():
            if type(part) is Linear:
                part.weight.data.copy_(QuantisedLinear(part, self.how).weight)
        for head in tables(architecture).values():
            head.weight.data.copy_(QuantisedTable(head.weight).weight)
        return Model(architecture, model.processor, model.task.name, model.provenance, model.place)

    def write(self, model: Model, attempt: Attempt) -> None:
        write_model(attempt, self.quantised(model))

    def open(self, folder: Path) -> Consumer:
        return Ours(load(folder))


class Int8(FewBits):
    """A model folder with weights of 8 bits."""

    precisions: ClassVar[tuple[str, ...]] = ("int8",)
    bounds: ClassVar[dict[str, float]] = {"int8": 0.1}
    how = Quantisation(bits=8)


class Int4(FewBits):
    """A model folder with weights of 4 bits (NF4, blocks of 64)."""

    precisions: ClassVar[tuple[str, ...]] = ("int4",)
    bounds: ClassVar[dict[str, float]] = {"int4": 0.6}
    how = Quantisation(bits=4)
