"""The shipped recipes of models without gradients: the saved model answers what scikit-learn, called directly, answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ftheta.data.sources.tables import SklearnTable
from ftheta.lifecycle.lifecycle import run
from ftheta.models.folder import load

SEED = 5


def measured(name: str, folder: Path) -> tuple[Any, dict[str, float]]:
    """The model a recipe leaves behind, read from disk, and its measurements by name."""
    outcome = run(name, changes=[f"seed={SEED}"], out=folder / name)
    return load(outcome.model_folder).architecture, {m["name"]: m["value"] for m in outcome.results["measurements"]}


def arrays(name: str, answer: str, folder: Path) -> list[np.ndarray]:
    """Training features and answers, test features and answers."""
    splits = SklearnTable.parse({"name": name}).splits(folder, SEED)
    batches = [splits[part].batch(torch.arange(len(splits[part]))) for part in ("train", "test")]
    return [batch[column].numpy() for batch in batches for column in ("features", answer)]


def test_digits_kmeans(tmp_path: Path) -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    model, found = measured("digits-kmeans", tmp_path)
    x, _, asked, label = arrays("digits", "label", tmp_path)
    reference = cluster.KMeans(10, n_init=10, random_state=SEED).fit(x)
    guess = reference.predict(asked)
    assert np.array_equal(model(features=torch.from_numpy(asked))["cluster"].numpy(), guess)
    assert found["squared distance"] == pytest.approx(-reference.score(asked) / len(asked), rel=1e-9)
    assert found["purity"] == sum(np.bincount(label[guess == c]).max() for c in np.unique(guess)) / len(label) > 0.6


def test_digits_forest(tmp_path: Path) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    model, found = measured("digits-forest", tmp_path)
    x, y, asked, label = arrays("digits", "label", tmp_path)
    reference = ensemble.RandomForestClassifier(100, random_state=SEED).fit(x, y)
    assert np.array_equal(model(features=torch.from_numpy(asked))["probability"].numpy(), reference.predict_proba(asked))
    assert found["accuracy"] == reference.score(asked, label) > 0.95


def test_diabetes_linear(tmp_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    model, found = measured("diabetes-linear", tmp_path)
    x, y, asked, target = arrays("diabetes", "target", tmp_path)
    reference = linear_model.LinearRegression().fit(x, y)
    np.testing.assert_allclose(model(features=torch.from_numpy(asked))["value"].numpy(), reference.predict(asked), rtol=1e-12)
    assert found["R2"] == pytest.approx(reference.score(asked, target), rel=1e-12)
