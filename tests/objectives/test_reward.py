"""The loss of reward models against its formula; padding changes nothing; what the source gives fits."""

from __future__ import annotations

import math

import torch

from ftheta.architectures.architecture import Architecture, call
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.contract import Batch, Ports, check
from ftheta.data.chat.rows import Pairs
from ftheta.objectives.objective import Phase
from ftheta.objectives.reward import BradleyTerry

LENGTHS = ((3, 9), (7, 4), (5, 5), (9, 2))
TRUNK = {"kind": "decoder", "vocab": 30, "dim": 16, "depth": 1, "context": 16, "mixer": {"kind": "attention", "heads": 2}}


def model() -> Architecture:
    readout = {"kind": "regress", "pooling": "last", "dense": None, "dropout": 0.0}
    made = HeadedConfig.parse({"kind": "headed", "trunk": TRUNK, "readout": readout, "classes": 2}).build()
    made.initialise(0)
    for parameter in made.parameters():
        parameter.data.mul_(8)
    made.compute_dtype = torch.float64
    return made.double()


def pairs(pad: int = 3) -> Batch:
    draw, batch = torch.Generator().manual_seed(0), Batch()
    for number, name in enumerate(("chosen", "rejected")):
        tokens, documents = torch.full((4, 9), pad), torch.full((4, 9), -1)
        for row, lengths in enumerate(LENGTHS):
            tokens[row, : lengths[number]] = torch.randint(4, 30, (lengths[number],), generator=draw)
            documents[row, : lengths[number]] = 0
        batch |= {name: tokens, f"{name}_documents": documents}
    return batch


def loss(f: Architecture, objective: BradleyTerry, batch: Batch):
    return objective.loss(f, lambda b: call(f, b), batch, Phase("main"))


def test_equal_to_the_formula() -> None:
    f, batch = model(), pairs()
    found = loss(f, BradleyTerry(margin=0.3, centre=0.05), batch)
    values = []
    for number, name in enumerate(("chosen", "rejected")):
        hidden = [f.trunk(tokens=batch[name][row : row + 1, : lengths[number]])["hidden"][0, -1] for row, lengths in enumerate(LENGTHS)]
        values.append([float((f.readout.output(h)).detach()) for h in hidden])
    expected = sum(-math.log(1 / (1 + math.exp(-(c - r - 0.3)))) + 0.05 * (c + r) ** 2 for c, r in zip(*values, strict=True))
    assert math.isclose(float(found.total.detach()), expected, rel_tol=1e-5) and found.count == 4
    assert found.metrics["preferred"] == (sum(c > r for c, r in zip(*values, strict=True)), 4)


def test_padding_and_parts_change_nothing() -> None:
    f = model()
    whole = float(loss(f, BradleyTerry(), pairs()).total.detach())
    assert math.isclose(whole, float(loss(f, BradleyTerry(), pairs(pad=17)).total.detach()), rel_tol=1e-9)
    parts = [{name: value[rows] for name, value in pairs().items()} for rows in (slice(0, 1), slice(1, 4))]
    assert math.isclose(whole, sum(float(loss(f, BradleyTerry(), part).total.detach()) for part in parts), rel_tol=1e-6)


def test_fits_preferences() -> None:
    data = Ports(gives=Pairs.gives(), sizes={"V": 30, "T": 16})
    assert check(data, model().config.ports(), BradleyTerry().needs()) == []
