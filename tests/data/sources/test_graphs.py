"""Graph sources: Cora's file format, hidden labels, communities."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ftheta.core.errors import DataError
from ftheta.data.sources import graphs
from ftheta.data.sources.graphs import HIDDEN, Communities, Planetoid

FIRST = torch.zeros(1, dtype=torch.long)


@pytest.fixture
def tiny_cora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four papers, three words: paper 1 has none, paper 3 has two."""
    np.savez(
        tmp_path / "cora.npz", x_indptr=np.array([0, 1, 1, 2, 4], np.int32), x_indices=np.array([0, 2, 0, 1], np.int32), x_data=np.ones(4, np.float32),
        x_shape=np.array([4, 3]), edge_index=np.array([[0, 1, 2, 3], [1, 0, 3, 2]]), y=np.array([0, 1, 1, 0]), train_idx=np.array([0, 1]),
        val_idx=np.array([2]), test_idx=np.array([3]),
    )
    monkeypatch.setattr(graphs, "locate", lambda name: tmp_path)
    return tmp_path


def test_features_are_normalised_and_labels_outside_the_split_hidden(tiny_cora: Path) -> None:
    splits = Planetoid().splits(tiny_cora, 0)
    batch = splits["train"].batch(FIRST)
    assert batch["nodes"].to_dense().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1], [0.5, 0.5, 0]]
    assert batch["label"].tolist() == [0, 1, HIDDEN, HIDDEN] and batch["mask"].tolist() == [True, True, False, False]
    assert splits["test"].batch(FIRST)["label"].tolist() == [HIDDEN, HIDDEN, HIDDEN, 0]
    assert len(splits["train"]) == 1 and splits["train"].ports.sizes == {"D": 3, "K": 2}
    assert len({split.fingerprint for split in splits.values()}) == 3


def test_a_damaged_file_is_named(tiny_cora: Path) -> None:
    (tiny_cora / "cora.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"cora.npz cannot be read"):
        Planetoid().splits(tiny_cora, 0)


@pytest.mark.skipif("FTHETA_MIRROR" not in os.environ, reason="needs the data set's file")
def test_cora_is_the_published_graph(tmp_path: Path) -> None:
    splits = Planetoid().splits(tmp_path, 0)
    batch = splits["train"].batch(FIRST)
    assert batch["nodes"].shape == (2708, 1433) and batch["edges"].shape == (2, 10556)
    assert [int(splits[name].batch(FIRST)["mask"].sum()) for name in ("train", "validation", "test")] == [140, 500, 1000]
    torch.testing.assert_close(batch["nodes"].sum(1).to_dense(), torch.ones(2708))
    assert len(Planetoid().processor(splits["train"]).labels) == splits["train"].ports.sizes["K"] == 7


def test_communities_are_linked_inside_and_always_the_same(tmp_path: Path) -> None:
    source = Communities(nodes=200)
    splits = source.splits(tmp_path, 0)
    edges = splits["train"].batch(FIRST)["edges"]
    label = torch.arange(200) % 4
    inside = (label[edges[0]] == label[edges[1]]).float().mean()
    assert inside > 0.6
    assert {tuple(edge) for edge in edges.t().tolist()} == {tuple(edge) for edge in edges.flip(0).t().tolist()}
    assert source.splits(tmp_path, 1)["train"].fingerprint == splits["train"].fingerprint
    assert Communities(nodes=200, variant=1).splits(tmp_path, 0)["train"].fingerprint != splits["train"].fingerprint
    masks = torch.stack([splits[name].batch(FIRST)["mask"] for name in ("train", "validation", "test")])
    assert masks.sum(0).tolist() == [1] * 200 and label[masks[0]].bincount().tolist() == [10] * 4
    with pytest.raises(DataError, match="use at least 48"):
        Communities(nodes=20).splits(tmp_path, 0)
