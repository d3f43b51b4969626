"""Models without gradients answer as scikit-learn does, before and after a round trip through tensors."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Estimator
from ftheta.architectures.classical import ForestConfig, KMeansConfig, LinearConfig
from ftheta.core.contract import Batch, Ports, check
from ftheta.core.errors import DataError, MissingExtraError
from ftheta.objectives.fit import Fit

cluster = pytest.importorskip("sklearn.cluster")
ensemble = pytest.importorskip("sklearn.ensemble")
linear_model = pytest.importorskip("sklearn.linear_model")
datasets = pytest.importorskip("sklearn.datasets")


def digits() -> tuple[Batch, np.ndarray, np.ndarray]:
    """500 digits to fit, the next 500 to ask about."""
    found = datasets.load_digits()
    return {"features": torch.from_numpy(found.data[:500]), "label": torch.from_numpy(found.target[:500])}, found.data[:500], found.data[500:1000]


def fitted(config: ArchitectureConfig, data: Batch, seed: int = 3) -> Architecture:
    model = config.build()
    assert isinstance(model, Estimator)
    model.initialise(0)
    model.fit(data, seed)
    return reloaded(model)


def reloaded(model: Architecture) -> Architecture:
    """The model again, from its tensors alone."""
    theta = model.theta()
    fresh = model.config.build()
    assert isinstance(fresh, Estimator)
    fresh.reserve({name: tuple(value.shape) for name, value in theta.items()})
    fresh.load_theta(theta)
    return fresh


def test_kmeans_finds_and_answers_as_scikit_learn() -> None:
    data, x, asked = digits()
    model = fitted(KMeansConfig(features=64, clusters=10, restarts=3), data)
    reference = cluster.KMeans(10, n_init=3, random_state=3).fit(x)
    outputs = model(features=torch.from_numpy(asked))
    assert np.array_equal(outputs["cluster"].numpy(), reference.predict(asked))
    np.testing.assert_allclose(outputs["distance"].numpy(), reference.transform(asked), rtol=1e-9)
    assert np.array_equal(model(features=torch.from_numpy(x))["cluster"].numpy(), reference.labels_)


@pytest.mark.parametrize("settings", [{}, {"depth": 5, "min_leaf": 3, "max_features": 10}, {"max_features": "all", "bootstrap": False, "trees": 3}])
def test_forest_answers_equal_scikit_learns_to_the_bit(settings: dict) -> None:
    data, x, asked = digits()
    asked = asked + np.random.default_rng(0).normal(size=asked.shape) * 0.1               # not float32 numbers
    model = fitted(ForestConfig.parse({"features": 64, "classes": 10, "trees": 25, **settings}), data)
    limit = settings.get("max_features", "sqrt")
    reference = ensemble.RandomForestClassifier(
        settings.get("trees", 25), max_depth=settings.get("depth"), min_samples_leaf=settings.get("min_leaf", 1), random_state=3,
        max_features=None if limit == "all" else limit, bootstrap=settings.get("bootstrap", True),
    ).fit(x, data["label"].numpy())
    outputs = model(features=torch.from_numpy(asked))
    assert np.array_equal(outputs["probability"].numpy(), reference.predict_proba(asked))
    assert np.array_equal(outputs["logits"].argmax(-1).numpy(), reference.predict(asked))
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(outputs["logits"].numpy(), reference.predict_log_proba(asked), rtol=1e-14)


def test_forest_with_a_class_that_training_lacks() -> None:
    data = {"features": torch.randn(40, 3, dtype=torch.float64), "label": torch.arange(40) % 2 * 2}
    probability = fitted(ForestConfig(features=3, classes=4, trees=5), data)(features=data["features"])["probability"]
    assert probability.shape == (40, 4) and not probability[:, [1, 3]].any()
    torch.testing.assert_close(probability.sum(1), torch.ones(40, dtype=torch.float64))


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_linear_answers_as_scikit_learn(decay: float) -> None:
    found = datasets.load_diabetes()
    data = {"features": torch.from_numpy(found.data[:300]), "target": torch.from_numpy(found.target[:300])}
    model = fitted(LinearConfig(features=10, decay=decay), data)
    reference = (linear_model.Ridge(alpha=decay) if decay else linear_model.LinearRegression()).fit(found.data[:300], found.target[:300])
    answer = model(features=torch.from_numpy(found.data[300:]))["value"].numpy()
    np.testing.assert_allclose(answer, reference.predict(found.data[300:]), rtol=1e-12)


def test_the_same_seed_fits_the_same_parameters() -> None:
    data, _, _ = digits()
    config = ForestConfig(features=64, classes=10, trees=3)
    first, again, other = (fitted(config, data, seed).theta() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["threshold"].shape != other["threshold"].shape or not torch.equal(first["threshold"], other["threshold"])


def test_answers_without_a_fit_are_defined() -> None:
    model = ForestConfig(features=2, classes=4, trees=2).build()
    model.initialise(0)
    assert torch.equal(model(features=torch.randn(3, 2))["probability"], torch.full((3, 4), 0.25, dtype=torch.float64))


def test_answers_it_learns_from_are_known_beforehand() -> None:
    classes, needs = Ports(gives={"features": "features B D", "label": "label B"}), Fit().needs()
    assert not check(classes, ForestConfig(features=2, classes=2).ports(), needs) and not check(classes, KMeansConfig(features=2).ports(), needs)
    assert check(classes, LinearConfig(features=2).ports(), needs) == [
        "the model learns from 'target' (real B), but the data gives 'features' (features B D), 'label' (label B); choose a source with 'target', or another model"
    ]


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(DataError, match=r"model.clusters is 8, more than the 5 training examples"):
        fitted(KMeansConfig(features=2), {"features": torch.randn(5, 2)})


def test_without_scikit_learn_a_model_answers_but_cannot_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _, asked = digits()
    model = fitted(ForestConfig(features=64, classes=10, trees=2), data)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert reloaded(model)(features=torch.from_numpy(asked))["logits"].shape == (500, 10)
    with pytest.raises(MissingExtraError, match=r"pip install 'ftheta\[classical\]'"):
        fitted(ForestConfig(features=64, classes=10, trees=2), data)
