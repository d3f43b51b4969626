"""Orders of pairs and retrieval, against scipy and a loop over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import ConfigError
from ftheta.data.source import Dataset
from ftheta.evaluation.metrics.correlation import Spearman, ranks
from ftheta.evaluation.metrics.loss import MeanLoss
from ftheta.evaluation.metrics.metric import Subject
from ftheta.evaluation.metrics.retrieval import Retrieval
from observe import subjects

N = 40


class Pairs(Dataset):
    """Random pairs, of which two have the same second text."""

    ports = Ports(gives={**dict.fromkeys(("first", "second", "first_documents", "second_documents"), "ids B T"), "score": "real B"})
    fingerprint = "pairs"

    def __init__(self) -> None:
        draws = torch.Generator().manual_seed(0)
        self.columns: Batch = {side: torch.randint(4, 200, (N, 6), generator=draws) for side in ("first", "second")}
        self.columns["second"][7] = self.columns["second"][3]
        self.columns |= {f"{side}_documents": torch.zeros(N, 6, dtype=torch.int64) for side in ("first", "second")}
        self.columns["score"] = torch.randint(0, 6, (N,), generator=draws) / 5

    def __len__(self) -> int:
        return N

    def batch(self, rows: Tensor) -> Batch:
        return {name: values[rows] for name, values in self.columns.items()}


@pytest.fixture(scope="module")
def subject() -> Subject:
    model = subjects("vectors").model
    return Subject(model, {"test": Pairs()}, {}, 0)


def cosines(subject: Subject) -> np.ndarray:
    columns, f = Pairs().columns, subject.model.architecture
    with torch.no_grad():
        a, b = (torch.stack([f(tokens=columns[side][i][None])["embedding"][0].double() for i in range(N)]) for side in ("first", "second"))
    return (a @ b.t() / a.norm(dim=1)[:, None] / b.norm(dim=1)[None]).numpy()


def test_the_order_of_pairs_is_scipys_spearman(subject: Subject) -> None:
    (found,) = Spearman().measure(subject).measurements
    wanted = float(spearmanr(np.diag(cosines(subject)), Pairs().columns["score"].numpy()).statistic)
    assert abs(found.value - wanted) < 1e-6 and found.low < found.value < found.high and found.n == N


def test_ties_share_their_rank() -> None:
    assert ranks(np.array([[3.0, 1.0, 3.0, 2.0, 3.0]])).tolist() == [[3.0, 0.0, 3.0, 1.0, 3.0]]


@pytest.mark.parametrize("least", [None, 0.8])
def test_retrieval_is_a_count_of_nearer_texts(subject: Subject, least: float | None) -> None:
    cosine, columns = cosines(subject), Pairs().columns
    ranks_ = []
    for i in range(N):
        if least is None or float(columns["score"][i]) >= least - 1e-6:
            others = [j for j in range(N) if not torch.equal(columns["second"][j], columns["second"][i]) and j != 7]        # 7 is 3 again
            ranks_.append(1 + sum(cosine[i, j] >= cosine[i, i] for j in others))
    found = {one.name: one for one in Retrieval(places=(1, 5), least=least).measure(subject).measurements}
    assert found["mean reciprocal rank"].n == len(ranks_)
    assert abs(found["mean reciprocal rank"].value - np.mean([1 / rank for rank in ranks_])) < 1e-9
    for k in (1, 5):
        assert abs(found[f"recall@{k}"].value - np.mean([rank <= k for rank in ranks_])) < 1e-9


def test_equal_vectors_earn_nothing(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = subject.model.architecture
    monkeypatch.setattr(architecture, "forward", lambda **inputs: {"embedding": torch.ones(len(inputs["tokens"]), 4)})
    found = {one.name: one.value for one in Retrieval(places=(1, 10)).measure(subject).measurements}
    assert found["recall@1"] == found["recall@10"] == 0 and found["mean reciprocal rank"] == pytest.approx(1 / (N - 1))


def test_a_loss_of_single_rows_is_refused_where_rows_are_compared() -> None:
    with pytest.raises(ConfigError, match="a row by itself has no loss"):
        MeanLoss.parse({"kind": "loss", "objective": "contrastive"})
    assert MeanLoss.parse({"kind": "loss", "objective": {"kind": "contrastive", "form": "cosine"}})
