"""The graph network: shapes, dropout on sparse features, and that it learns communities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from ftheta.architectures.architecture import call
from ftheta.architectures.graph import Graph, GraphConfig
from ftheta.core.errors import ConfigError
from ftheta.core.random import seed_all
from ftheta.data.sources.graphs import Communities


def network(**fields: object) -> Graph:
    model = GraphConfig.parse({"features": 16, "classes": 4, **fields}).build()
    model.initialise(0)
    return model


def test_outputs_and_number_of_layers() -> None:
    model = network(depth=3, hidden=8)
    outputs = model(nodes=torch.randn(10, 16), edges=torch.randint(10, (2, 20)))
    assert outputs["hidden"].shape == (10, 8) and outputs["logits"].shape == (10, 4) and len(model.layers) == 3


def test_dropout_of_sparse_features_draws_for_what_is_not_zero() -> None:
    model = network(dropout=0.5).train()
    torch.manual_seed(0)
    x = (torch.rand(200, 300) < 0.1).float()
    dropped = model.drop(x.to_sparse()).to_dense()
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert not dropped[x == 0].any()
    assert abs(float((dropped > 0).sum() / x.sum()) - 0.5) < 0.03
    assert torch.equal(model.eval().drop(x.to_sparse()).to_dense(), x)


def test_learns_communities(tmp_path: Path) -> None:
    splits = Communities().splits(tmp_path, 0)
    batch, test = (splits[name].batch(torch.zeros(1, dtype=torch.long)) for name in ("train", "test"))
    model = network().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.0)
    for step in range(60):
        seed_all(step)
        optimizer.zero_grad()
        F.cross_entropy(call(model, batch)["logits"][batch["mask"]], batch["label"][batch["mask"]]).backward()
        optimizer.step()
    guess = call(model.eval(), test)["logits"].argmax(-1)
    assert (guess == test["label"])[test["mask"]].float().mean() > 0.85


def test_unknown_message_passing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"message_passing.kind: 'gcm' is not a known message_passing; did you mean 'gcn'"):
        GraphConfig.parse({"features": 4, "classes": 2, "message_passing": "gcm"})
