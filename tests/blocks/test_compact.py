"""Rows without their padding: every real token is there once, with its own document, and models give the same."""

from __future__ import annotations

import pytest
import torch

from ftheta.architectures.headed import Headed, HeadedConfig
from ftheta.blocks.compact import compact


def padded(lengths: list[int], width: int, left: bool) -> torch.Tensor:
    rows = [[0] * n for n in lengths]
    return torch.tensor([[-1] * (width - len(row)) + row if left else row + [-1] * (width - len(row)) for row in rows])


@pytest.mark.parametrize("left", [False, True])
def test_every_real_token_is_there_once_among_those_of_its_own_row(left: bool):
    documents = padded([3, 9, 4, 1, 0, 5], 10, left)
    layout = compact(documents)
    assert layout is not None and len(layout.documents) == 3
    numbers = torch.arange(60).view(6, 10)
    shown = torch.where(layout.documents >= 0, layout.gather(numbers), -1)
    assert sorted(shown[shown >= 0].tolist()) == numbers[documents >= 0].tolist()
    for row in range(6):
        mine = numbers[row][documents[row] >= 0]
        places = [(i, j) for i in range(3) for j in range(10) if shown[i, j] in mine]
        assert [int(shown[place]) for place in places] == mine.tolist()                   # side by side, in order
        assert len({int(layout.documents[place]) for place in places}) <= 1
        assert len({place[0] for place in places}) <= 1
    back = layout.scatter(layout.gather(numbers)[:, :, None])[:, :, 0]
    assert torch.equal(back, torch.where(documents >= 0, numbers, 0))


def test_rows_with_several_documents_keep_them_apart():
    documents = torch.tensor([[0, 0, 1, -1, -1, -1], [0, 1, 1, -1, -1, -1], [0, 0, -1, -1, -1, -1], [0, -1, -1, -1, -1, -1]])
    layout = compact(documents)
    assert layout is not None
    assert len(layout.documents[layout.documents >= 0].unique()) == 6


def test_rows_that_are_nearly_full_stay_as_they_are():
    assert compact(padded([9, 10, 9, 10], 10, False)) is None
    assert compact(padded([6, 6, 6], 10, False)) is None                                  # no two of them fit into one


@pytest.mark.parametrize("mixer", [{"kind": "attention", "heads": 2, "causal": False}, {"kind": "attention", "heads": 2, "causal": False, "window": 3}])
@pytest.mark.parametrize("readout", ["classify", {"kind": "embed"}, "tag"])
def test_a_model_gives_the_same_and_learns_the_same(mixer: dict, readout: object):
    config = HeadedConfig.parse({
        "kind": "headed", "classes": 3, "readout": readout,
        "trunk": {"kind": "encoder", "vocab": 20, "dim": 16, "depth": 2, "context": 12, "segments": 2, "mixer": mixer, "positions": "learned"},
    })
    model: Headed = config.build()
    model.initialise(0)
    model = model.double().eval()
    model.compute_dtype = torch.float64
    generator = torch.Generator().manual_seed(1)
    documents = padded([3, 12, 5, 2, 4], 12, False)
    tokens, segments = (torch.randint(0, high, documents.shape, generator=generator) for high in (20, 2))
    together = model(tokens, documents, segments)
    together["hidden"].square().sum().backward()
    slopes = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    alone = [model(tokens[i : i + 1, :n], documents[i : i + 1, :n], segments[i : i + 1, :n]) for i, n in enumerate([3, 12, 5, 2, 4])]
    sum(one["hidden"].square().sum() for one in alone).backward()
    for i, (n, one) in enumerate(zip([3, 12, 5, 2, 4], alone, strict=True)):
        for name, value in one.items():
            mine = together[name][i, :n] if value.ndim == 3 else together[name][i]
            assert torch.allclose(mine, value[0], atol=1e-12), name
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(slopes[name], parameter.grad, atol=1e-10), name
