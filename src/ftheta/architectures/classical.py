"""Models without gradients: k-means, random forests, least squares.

scikit-learn (Pedregosa et al. 2011) finds the parameters; they are kept as tensors, so that a model folder is plain safetensors and
using the model needs no scikit-learn. Whatever decides an answer is float64, as in scikit-learn, so answers are equal to its own.

    k-means  argmin_k |x - c_k|                           (Lloyd 1982, started by k-means++, Arthur & Vassilvitskii 2007)
    forest   p(k | x) = mean over trees of the share of class k in x's leaf                              (Breiman 2001)
    linear   y = w·x + b, (w, b) = argmin Σ (y - w·x - b)² + decay |w|²                     (Hoerl & Kennard 1970)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ftheta.architectures.architecture import ArchitectureConfig, Estimator, Outputs
from ftheta.core.config import from_data
from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import DataError, MissingExtraError

TAKES = {"features": "features B D"}
TRAITS = frozenset({"closed_form"})


class Classical(Estimator):
    """Parameters in buffers, whose shapes may be known only after a fit."""

    def put(self, **values: Any) -> None:
        """Replace buffers by what a fit found, each keeping its type."""
        for name, value in values.items():
            old = self.get_buffer(name)
            setattr(self, name, torch.as_tensor(np.asarray(value)).to(old).reshape(np.shape(value)))

    def reserve(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, old in dict(self.named_buffers()).items():
            if name in shapes:
                setattr(self, name, old.new_zeros(shapes[name]))

    def initialise(self, seed: int) -> None:
        """Zeros, until the fit."""
        for value in self.buffers():
            value.zero_()


class KMeansConfig(ArchitectureConfig):
    """Clusters around centres."""

    kind: Literal["kmeans"] = "kmeans"
    features: int = from_data("D")
    """Numbers that describe an example."""
    clusters: int = Field(default=8, gt=0)
    """Number of centres."""
    restarts: int = Field(default=10, gt=0)
    """Times the search starts anew; the tightest clusters are kept."""
    iterations: int = Field(default=300, gt=0)
    """Longest search."""
    tolerance: float = Field(default=1e-4, ge=0)
    """The search ends when the centres move less than this, relative to the variance of the data."""

    def ports(self) -> Ports:
        return Ports(TAKES, {"cluster": "label B", "distance": "real B K"}, {"D": self.features}, TRAITS)

    def build(self) -> KMeans:
        return KMeans(self)


class KMeans(Classical):
    """features (B, D) → cluster (B,), the nearest centre, and distance (B, K) to every centre, float64."""

    centres: Tensor

    def __init__(self, config: KMeansConfig):
        super().__init__()
        self.config: KMeansConfig = config
        self.register_buffer("centres", torch.empty(config.clusters, config.features, dtype=torch.float64))

    def forward(self, features: Tensor) -> Outputs:
        x = features.to(self.centres)
        if torch.compiler.is_exporting():                                                 # ONNX has no such operator
            distance = (x[:, None] - self.centres).square().sum(-1).sqrt()
        else:
            distance = torch.cdist(x, self.centres, compute_mode="donot_use_mm_for_euclid_dist")
        return Outputs({"cluster": distance.argmin(-1), "distance": distance})

    def fit(self, data: Batch, seed: int) -> dict[str, float]:
        cluster = library("cluster")
        config = self.config
        if config.clusters > len(data["features"]):
            raise DataError(f"model.clusters is {config.clusters:,}, more than the {len(data['features']):,} training examples")
        found = cluster.KMeans(config.clusters, n_init=config.restarts, max_iter=config.iterations, tol=config.tolerance, random_state=seed % 2**32)
        found.fit(data["features"].double().numpy())
        self.put(centres=found.cluster_centers_)
        return {"inertia": float(found.inertia_), "iterations": float(found.n_iter_)}


class ForestConfig(ArchitectureConfig):
    """Many decision trees, each grown on a resampled training set, every split chosen among a few random features."""

    kind: Literal["forest"] = "forest"
    features: int = from_data("D")
    """Numbers that describe an example."""
    classes: int = from_data("K")
    """Classes to tell apart."""
    trees: int = Field(default=100, gt=0)
    """Number of trees."""
    depth: int | None = Field(default=None, gt=0)
    """Most splits between root and leaf; without it a tree grows until its leaves are pure."""
    min_leaf: int = Field(default=1, gt=0)
    """Fewest training examples in a leaf."""
    max_features: Literal["sqrt", "log2", "all"] | int = "sqrt"
    """Features looked at for a split: a number, or a function of how many there are."""
    bootstrap: bool = True
    """Whether each tree sees a resampled training set; if not, all of it."""
    balanced: bool = False
    """Whether rare classes weigh as much as common ones."""

    def ports(self) -> Ports:
        return Ports(TAKES, {"logits": "logits B K", "probability": "real B K"}, {"D": self.features, "K": self.classes}, TRAITS, {"label": "label B"})

    def build(self) -> Forest:
        return Forest(self)


class Forest(Classical):
    """features (B, D) → probability (B, K) float64 and its logarithm as logits (-inf where no tree has seen the class).

    All trees' nodes stand in one table of M rows: go left when x[feature] <= threshold; a leaf leads to itself and holds the share of
    every class. `root` (trees,) says where each tree begins.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    share: Tensor
    root: Tensor

    def __init__(self, config: ForestConfig):
        super().__init__()
        self.config: ForestConfig = config
        self.levels = 0
        """Splits from a root to the farthest leaf, once there are trees."""
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.empty(1, dtype=torch.int32))
        self.register_buffer("root", torch.empty(config.trees, dtype=torch.int32))
        self.register_buffer("threshold", torch.empty(1, dtype=torch.float64))
        self.register_buffer("share", torch.empty(1, config.classes, dtype=torch.float64))

    def initialise(self, seed: int) -> None:
        """One leaf that knows nothing, until the fit."""
        super().initialise(seed)
        self.share.fill_(1 / self.config.classes)

    def forward(self, features: Tensor) -> Outputs:
        x = features.float().double()                                                    # trees are grown on float32 values and float64 thresholds
        leaves = self.leaves(x)
        probability = x.new_zeros(x.shape[0], self.config.classes)
        for tree in range(self.config.trees):                                            # one by one: scikit-learn's order of addition
            probability += self.share[leaves[:, tree]]
        probability /= self.config.trees
        return Outputs({"logits": probability.log(), "probability": probability})

    def leaves(self, x: Tensor) -> Tensor:
        """(B, trees) the row of the leaf each example ends in."""
        node = self.root.long().expand(x.shape[0], -1)
        if torch.compiler.is_exporting():                                                 # a program goes on as far as the deepest tree does
            for _ in range(self.levels):
                node = self.below(x, node)
            return node
        while True:
            after = self.below(x, node)
            if torch.equal(after, node):
                return node
            node = after

    def below(self, x: Tensor, node: Tensor) -> Tensor:
        """(B, trees) the nodes one level down; of a leaf itself."""
        low = x.gather(1, self.feature[node].long()) <= self.threshold[node]
        return torch.where(low, self.left[node], self.right[node]).long()

    def put(self, **values: Any) -> None:
        super().put(**values)
        self.levels = self.deepest()

    def load_theta(self, values: Mapping[str, Tensor]) -> None:
        super().load_theta(values)
        self.levels = self.deepest()

    def deepest(self) -> int:
        """Splits from a root to the farthest leaf."""
        nodes, levels = self.root.long(), 0
        while True:
            after = torch.cat([self.left[nodes], self.right[nodes]]).long()
            after = after[torch.cat([self.left[nodes] != nodes, self.right[nodes] != nodes])].unique()
            if not len(after):
                return levels
            nodes, levels = after, levels + 1

    def fit(self, data: Batch, seed: int) -> dict[str, float]:
        ensemble = library("ensemble")
        config = self.config
        found = ensemble.RandomForestClassifier(
            config.trees, max_depth=config.depth, min_samples_leaf=config.min_leaf, bootstrap=config.bootstrap, random_state=seed % 2**32,
            max_features=None if config.max_features == "all" else config.max_features, class_weight="balanced" if config.balanced else None,
        )
        found.fit(data["features"].numpy(), data["label"].numpy())
        trees = [tree.tree_ for tree in found.estimators_]
        sizes = np.array([tree.node_count for tree in trees])
        root = np.cumsum(sizes) - sizes
        leaf = np.concatenate([tree.children_left for tree in trees]) < 0
        self_ = np.arange(sizes.sum())
        start = np.repeat(root, sizes)
        share = np.zeros((sizes.sum(), config.classes))
        share[:, found.classes_] = np.concatenate([tree.value[:, 0] for tree in trees])   # a class without training examples stays at 0
        self.put(
            root=root, share=share, feature=np.where(leaf, 0, np.concatenate([tree.feature for tree in trees])),
            threshold=np.where(leaf, 0.0, np.concatenate([tree.threshold for tree in trees])),
            left=np.where(leaf, self_, start + np.concatenate([tree.children_left for tree in trees])),
            right=np.where(leaf, self_, start + np.concatenate([tree.children_right for tree in trees])),
        )
        return {"nodes": float(sizes.sum()), "deepest": float(max(tree.max_depth for tree in trees))}


class LinearConfig(ArchitectureConfig):
    """A weighted sum of features."""

    kind: Literal["linear"] = "linear"
    features: int = from_data("D")
    """Numbers that describe an example."""
    decay: float = Field(default=0.0, ge=0)
    """Weight of the squared length of the weights (ridge); 0 is least squares."""

    def ports(self) -> Ports:
        return Ports(TAKES, {"value": "real B"}, {"D": self.features}, TRAITS, {"target": "real B"})

    def build(self) -> Linear:
        return Linear(self)


class Linear(Classical):
    """features (B, D) → value (B,), float64."""

    weight: Tensor
    bias: Tensor

    def __init__(self, config: LinearConfig):
        super().__init__()
        self.config: LinearConfig = config
        self.register_buffer("weight", torch.empty(config.features, dtype=torch.float64))
        self.register_buffer("bias", torch.empty((), dtype=torch.float64))

    def forward(self, features: Tensor) -> Outputs:
        return Outputs({"value": features.to(self.weight) @ self.weight + self.bias})

    def fit(self, data: Batch, seed: int) -> dict[str, float]:
        linear = library("linear_model")
        found = linear.Ridge(alpha=self.config.decay, random_state=seed % 2**32) if self.config.decay else linear.LinearRegression()
        x, y = data["features"].double().numpy(), data["target"].double().numpy()
        found.fit(x, y)
        self.put(weight=found.coef_, bias=found.intercept_)
        return {"train_R2": float(found.score(x, y))}


def library(part: str) -> Any:
    """A module of scikit-learn. Raises MissingExtraError."""
    try:
        from sklearn import cluster, ensemble, linear_model
    except ImportError:
        raise MissingExtraError("scikit-learn", "classical", "fitting a model without gradients") from None
    return {"cluster": cluster, "ensemble": ensemble, "linear_model": linear_model}[part]
